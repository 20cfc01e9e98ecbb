#!/usr/bin/env bash
# PostgreSQL for MLflow on this machine: loopback alone, passwords made once, kept in files that no
# one else can read, and never printed.
#
#   cluster/mlflow/postgres.sh up | status | down
#
# GENAE_HOME (~/.genae) holds it, in postgres/. PGPORT (5432) is its port.
set -euo pipefail
umask 077

home=${GENAE_HOME:-$HOME/.genae}/postgres
data=$home/data
export PGOPTIONS='-c client_min_messages=warning' PGHOST=127.0.0.1 PGPORT=${PGPORT:-5432} PGPASSFILE=$home/postgres.pgpass

die() { echo "error: $*" >&2; exit 2; }

tool() { # a program of PostgreSQL, which Debian keeps off the PATH; the newest
    command -v "$1" || ls "/usr/lib/postgresql/"*"/bin/$1" 2>/dev/null | sort -V | tail -n 1
}

is_up() { [ -d "$data" ] && "$(tool pg_ctl)" -D "$data" status >/dev/null; }

password_for() { # makes the role's password, in libpq's own file
    printf '127.0.0.1:*:*:%s:%s\n' "$1" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >"$home/$1.pgpass"
}

password_of() { cut -d: -f5 "$home/$1.pgpass"; }

up() {
    [ -n "$(tool initdb)" ] || die "there is no PostgreSQL: install its server, e.g. apt install postgresql"
    [ "$(id -u)" != 0 ] || die "PostgreSQL does not run as root: use another user"
    ! is_up || die "it is up already; take it down with cluster/mlflow/postgres.sh down"
    mkdir -p "$home"
    if [ ! -f "$data/PG_VERSION" ]; then
        rm -rf "$data.new"
        password_for postgres
        password_for mlflow
        "$(tool initdb)" -D "$data.new" --username=postgres --auth=scram-sha-256 \
            --pwfile=<(password_of postgres) --encoding=UTF8 --data-checksums >"$home/initdb.log" ||
            die "initdb failed: see $home/initdb.log"
        mv "$data.new" "$data"
    fi
    "$(tool pg_ctl)" -D "$data" -l "$home/log" -w -t 60 \
        -o "-c listen_addresses=127.0.0.1 -c port=$PGPORT -c unix_socket_directories=''" \
        start >/dev/null || die "it does not start: see $home/log"
    local sql="psql --no-password --username=postgres --quiet --no-psqlrc -v ON_ERROR_STOP=1"
    if [ -z "$($sql -tAc "SELECT 1 FROM pg_database WHERE datname = 'mlflow'" postgres)" ]; then
        # By standard input: what is on a command line, every user can see.
        $sql postgres <<SQL
DROP ROLE IF EXISTS mlflow;
CREATE ROLE mlflow LOGIN PASSWORD '$(password_of mlflow)';
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE mlflow FROM PUBLIC;
SQL
    fi
    echo "up at 127.0.0.1:$PGPORT, on this machine alone; MLflow: cluster/mlflow/server.sh"
}

case ${1:-} in
up) up ;;
status) if is_up; then echo "up"; else echo "down"; exit 1; fi ;;
down)
    is_up || { echo "not up"; exit 0; }
    "$(tool pg_ctl)" -D "$data" -w -m fast stop >/dev/null
    echo "stopped; its data stays in $data"
    ;;
*) die "say up, status or down" ;;
esac
