#!/usr/bin/env bash
# Checks the app on a machine without an Android SDK: its sources against the framework's classes,
# its resources with aapt2, its inference over the runtime of the ai-edge-litert wheel. README.md
# says what that leaves open. Then the same for web/.
#   PYTHON  a Python with hwkeras's packages
#   CI      if set, root installs aapt2 where it is missing
set -euo pipefail
case ${BUNDLES:-/} in /*) ;; *) export BUNDLES=$PWD/$BUNDLES ;; esac # for web/, before cd
cd "$(dirname "$0")"
python=$(command -v "${PYTHON:-python3}")
export PYTHONPATH="$PWD/..${PYTHONPATH:+:$PYTHONPATH}"

skip() { echo "android_demo: skipped the checks of the app: $1"; }

install_aapt2() { # Debian's, with the framework's resources of API 29
    local framework=/usr/share/android-framework-res/framework-res.apk
    command -v aapt2 > /dev/null && [ -f $framework ] && return
    [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || return 1
    apt-get -qq update && apt-get -qq install -y aapt android-framework-res > /dev/null
}

link_resources() { # writes R.java and a linked manifest
    local app=app/src/main out=host/target/resources
    rm -rf $out host/target/r
    mkdir -p $out host/target/r
    # Gradle's plugin adds the package and fills in the placeholder.
    sed 's/<manifest /<manifest package="io.hwkeras.demo" /; s/${applicationId}/io.hwkeras.demo/' \
        $app/AndroidManifest.xml > $out/AndroidManifest.xml
    aapt2 compile --dir $app/res -o $out/compiled.zip
    aapt2 link -I /usr/share/android-framework-res/framework-res.apk -A $app/assets \
        --manifest $out/AndroidManifest.xml --min-sdk-version 24 --target-sdk-version 36 \
        -0 tflite --java host/target/r -o $out/resources.apk $out/compiled.zip
    aapt2 dump badging $out/resources.apk > $out/badging.txt
}

build_shim() { # the native half of host/src/shim, over the wheel's libLiteRt.so
    local java_home wheel
    java_home=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
    wheel=$("$python" -c 'import ai_edge_litert as wheel; print(*wheel.__path__)')
    mkdir -p host/target/native
    cc -shared -fPIC -O2 -Wall -Wextra -Wno-unused-parameter -Werror \
        -I"$java_home/include" -I"$java_home/include/linux" host/src/shim/c/litert_jni.c \
        "$wheel/libLiteRt.so" -Wl,-rpath,"$wheel" -Wl,-z,defs \
        -o host/target/native/liblitert_jni.so
}

check_app() {
    for tool in javac mvn cc; do
        command -v $tool > /dev/null || { skip "$tool is not installed"; return; }
    done
    install_aapt2 || { skip "aapt2 or Debian's android-framework-res is missing"; return; }
    link_resources
    build_shim
    rm -rf host/target/exported
    "$python" host/export_models.py host/target/exported 2> host/target/export.log || {
        cat host/target/export.log >&2
        return 1
    }
    mvn -f host -B -ntp test
}

check_app
if [ -x web/check.sh ]; then PYTHON=$python web/check.sh; fi
