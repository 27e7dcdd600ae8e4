# Empty the cache of a server.
set -eu
cd "estate/$1" 2>/dev/null || { echo "no server $1" >&2; exit 3; }
rm -f cache/*
echo "Cleared cache on $1"
