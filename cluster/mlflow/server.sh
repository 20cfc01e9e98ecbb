#!/usr/bin/env bash
# MLflow's server on PostgreSQL, for a team: runs in the database, files in a folder or a bucket.
# It asks no one for a password, so it listens on loopback unless HOST says otherwise.
#
#   cluster/mlflow/server.sh                             # with postgres.sh up; Ctrl-C ends it
#   ARTIFACTS=s3://BUCKET/mlflow cluster/mlflow/server.sh
#
# STORE is the database's URI without its password, which PGPASSFILE holds.
set -euo pipefail

home=${GENAE_HOME:-$HOME/.genae}
store=${STORE:-postgresql+psycopg://mlflow@127.0.0.1:${PGPORT:-5432}/mlflow}
export PGPASSFILE=${PGPASSFILE:-$home/postgres/mlflow.pgpass}
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true

if [[ $store =~ ://[^/@]*:[^/@]*@ ]]; then
    echo "error: STORE holds a password, which every user could see: put it into PGPASSFILE" >&2
    exit 2
fi
# Clients send files to the server, and only the server needs the bucket's credentials.
exec mlflow server --host "${HOST:-127.0.0.1}" --port "${PORT:-5000}" --workers 1 \
    --backend-store-uri "$store" --artifacts-destination "${ARTIFACTS:-$home/mlartifacts}"
