#!/bin/sh
# The command under test; what it is asked for is noted in $ASKED.
echo "$*" >>"$ASKED"
exec "$NOTED" "$@"
