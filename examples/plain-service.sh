#!/usr/bin/env bash
# A worker in a shell, without the SDK and without any NATS client: bash speaks the protocol over /dev/tcp. It serves `double` and
# `halve`, and knows nothing of items or of undo: an item of a `for_each` and the undo of an entry come as any other invocation does,
# and one field of the body says what they are for.
#
#   examples/plain-service.sh 127.0.0.1 4222
set -euo pipefail
host=${1:-127.0.0.1}
port=${2:-4222}

exec 3<>"/dev/tcp/$host/$port"
printf 'CONNECT {"verbose":false,"pedantic":false,"headers":true,"lang":"bash","version":"1","name":"plain-service"}\r\n' >&3
printf 'SUB fn.double fn 1\r\nSUB fn.halve fn 2\r\nPING\r\n' >&3

# The number that a field of the body has; a JSON parser does it better.
field() { [[ $2 =~ \"$1\":(-?[0-9]+) ]] && echo "${BASH_REMATCH[1]}"; }

answer() { # subject, reply, body
  local subject=$1 reply=$2 body=$3 result
  case $subject in
    fn.double) result=$((2 * $(field item "$body"))) ;;
    # The undo of `double`: it is handed the result that is to be undone.
    fn.halve) result=null ;;
  esac
  echo "$subject $body" >>"${LOG:-/dev/null}"
  printf 'PUB %s %d\r\n%s\r\n' "$reply" "${#result}" "$result" >&3
}

LC_ALL=C # lengths are in bytes
while IFS= read -r -u 3 line; do
  line=${line%$'\r'}
  read -r verb subject _sid rest <<<"$line"
  case $verb in
    PING) printf 'PONG\r\n' >&3 ;;
    PONG) echo "serving" ;; # the subscriptions are there
    -ERR) echo "$line" >&2; exit 1 ;;
    MSG) # subject sid [reply] bytes
      read -r reply bytes <<<"$rest"
      IFS= read -r -u 3 -N $((bytes + 2)) body
      answer "$subject" "$reply" "${body%$'\r\n'}"
      ;;
    HMSG) # subject sid [reply] header-bytes bytes
      read -r reply head bytes <<<"$rest"
      IFS= read -r -u 3 -N $((bytes + 2)) body
      body=${body:head}
      answer "$subject" "$reply" "${body%$'\r\n'}"
      ;;
  esac
done
