#!/usr/bin/env bash
# Runs the PostgreSQL server that the tests of a run share, and stops it once no test uses it any more.
# usage: shared_postgres.sh FOLDER PORT BIN [PREFIX…], where PREFIX runs a command as the server's user
set -euo pipefail
folder=$1 port=$2 bin=$3
shift 3
data=$folder/server/data

# Tests that kill the server have one of their own, so this one need not flush.
"$@" "$bin/initdb" --pgdata "$data" --username=sixfold --auth=trust --encoding=UTF8 --no-sync >/dev/null
"$@" "$bin/pg_ctl" start --wait --silent --pgdata "$data" --log "$folder/server/log" -o "-c listen_addresses=127.0.0.1 \
    -c port=$port -c unix_socket_directories=$folder/server -c max_connections=400 -c shared_buffers=64MB \
    -c fsync=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0"
echo "$port" >"$folder/port.new"
mv "$folder/port.new" "$folder/port"

# Whoever starts a server holds `control`, whoever uses one shares `users`.
exec 8>>"$folder/control" 9>>"$folder/users"
while sleep 3; do
    flock --nonblock --exclusive 9 || continue
    flock --unlock 9
    sleep 3
    flock --exclusive 8
    if flock --nonblock --exclusive 9; then
        rm -f "$folder/port"
        "$@" "$bin/pg_ctl" stop --wait --silent --mode immediate --pgdata "$data" || true
        rm -rf "$folder/server"
        exit 0
    fi
    flock --unlock 8
done
