package io.hwkeras.demo

import java.io.File
import javax.xml.parsers.DocumentBuilderFactory
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** What Gradle and Android Studio would notice, and Maven does not. */
class ProjectTest {
    private val main = File("../app/src/main")
    private val gradle = File("../app/build.gradle.kts").readText()
    private val versions = File("../gradle/libs.versions.toml").readText()
    private val manifest = main.resolve("AndroidManifest.xml").let {
        DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(it)
    }

    @Test
    fun `the manifest's components are classes of their kind`() {
        assertEquals(listOf("android.app.Activity"), components("activity"))
        assertEquals(listOf("android.content.ContentProvider"), components("provider"))
    }

    @Test
    fun `the manifest asks for no permission`() {
        assertEquals(0, manifest.getElementsByTagName("uses-permission").length)
    }

    @Test
    fun `the linked manifest says what Gradle says`() {
        val linked = File("target/resources/badging.txt").readText()
        val minimum = Regex("minSdk = (\\d+)").find(gradle)!!.groupValues[1]
        val target = Regex("targetSdk = (\\d+)").find(gradle)!!.groupValues[1]
        assertEquals("24" to "36", minimum to target)
        assertTrue("\nsdkVersion:'$minimum'" in linked)
        assertTrue("\ntargetSdkVersion:'$target'" in linked)
        assertTrue("launchable-activity: name='${MainActivity::class.java.name}'" in linked)
    }

    @Test
    fun `was compiled with the versions that Gradle takes`() {
        for (name in listOf("kotlin", "coroutines", "junit")) {
            assertTrue("\n$name = \"${System.getProperty(name)}\"" in versions, name)
        }
    }

    @Test
    fun `core knows nothing of Android`() {
        val files = main.resolve("kotlin/io/hwkeras/demo/core").listFiles()!!
        assertTrue(files.size > 5)
        for (file in files) assertTrue("import android" !in file.readText(), file.name)
    }

    @Test
    fun `every string is used, and the layouts hold none of their own`() {
        val strings = main.resolve("res/values/strings.xml").readText()
        val users = main.walk().filter { it.extension in setOf("kt", "xml") }
            .joinToString("") { it.readText() }
        for (match in Regex("<string name=\"(\\w+)\">").findAll(strings)) {
            val name = match.groupValues[1]
            assertTrue(Regex("(R\\.string\\.|@string/)$name\\b") in users, name)
        }
        val ownText = Regex("android:(text|contentDescription|hint)=\"(?!@string/)")
        for (layout in main.resolve("res/layout").listFiles()!!) {
            assertTrue(ownText !in layout.readText(), layout.name)
        }
    }

    @Test
    fun `the assets stay small`() {
        val files = main.resolve("assets").walk().filter { it.isFile }
        assertTrue(files.sumOf { it.length() } < 2 shl 20)
    }

    /** Returns the framework's class that each component of the manifest is made from. */
    private fun components(tag: String): List<String> {
        val nodes = manifest.getElementsByTagName(tag)
        return List(nodes.length) {
            val name = nodes.item(it).attributes.getNamedItem("android:name").nodeValue
            val type = Class.forName("io.hwkeras.demo$name", false, javaClass.classLoader)
            type.superclass.name
        }
    }
}
