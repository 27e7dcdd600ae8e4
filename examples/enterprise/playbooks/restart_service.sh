# Restart the service of a server: its pid changes. Once per key, however often it is asked.
set -eu
cd "estate/$1" 2>/dev/null || { echo "no server $1" >&2; exit 3; }
[ "$(cat restarted-by 2>/dev/null || true)" = "$MOVANT_KEY" ] || {
    echo "$MOVANT_KEY ${TRACEPARENT:-}" >> restarts.log
    echo "$MOVANT_KEY" > restarted-by
}
echo "Restarted service on $1"
