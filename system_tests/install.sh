#!/usr/bin/env bash
# Installs what the tests need beside Rust: curl, redis-server and redis-cli, PostgreSQL, redis-py,
# websockets, grpcio, moto (a server that speaks S3) and schemathesis in a venv, ioredis.
# As root everything missing is installed; otherwise the script says what is missing and fails.
set -euo pipefail
cd "$(dirname "$0")"
clients=../target/test-clients

packages=()
command -v cc >/dev/null || packages+=(build-essential)
command -v redis-server >/dev/null || packages+=(redis-server)
command -v redis-cli >/dev/null || packages+=(redis-tools)
# Only the programs: the tests start servers of their own on private ports.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || packages+=(postgresql)
command -v curl >/dev/null || packages+=(curl)
command -v python3 >/dev/null || packages+=(python3)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "the tests need: ${packages[*]}" >&2
        echo "install them (on Debian: sudo apt-get install ${packages[*]}) and run make test again" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # Debian starts a Redis of its own on 6379; the tests start theirs on private ports. Of PostgreSQL no cluster is
    # made where that can be prevented.
    if [[ " ${packages[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

mkdir -p "$clients"
if [ ! -x "$clients/python/bin/python" ] || ! "$clients/python/bin/python" -c 'import redis, websockets, grpc, moto, boto3, schemathesis' 2>/dev/null; then
    python3 -m venv "$clients/python"
    "$clients/python/bin/python" -m pip install -q --disable-pip-version-check \
        'redis==6.4.0' 'websockets==17.4' 'grpcio==1.85.1' 'moto[s3,server]==5.2.5' 'schemathesis==4.32.5'
fi
if [ ! -d "$clients/node_modules/ioredis" ]; then
    npm install --silent --no-audit --no-fund --prefix "$clients" 'ioredis@5' >/dev/null
fi
