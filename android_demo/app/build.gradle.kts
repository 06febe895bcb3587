plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "io.hwkeras.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "io.hwkeras.demo"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"

        // Phones, and the emulator. LiteRT's libraries are linked for pages of 16 KB; Gradle's
        // plugin aligns them in the APK, where they stay uncompressed (no useLegacyPackaging).
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }

    androidResources { noCompress += "tflite" }

    testOptions { unitTests.all { it.useJUnitPlatform() } }
}

kotlin {
    compilerOptions { allWarningsAsErrors = true }
}

dependencies {
    implementation(libs.litert)
    implementation(libs.coroutines.android)

    testImplementation(libs.junit.jupiter)
    testImplementation(libs.json) // the SDK's own org.json is empty outside of a phone
    testRuntimeOnly(libs.junit.launcher)
}
