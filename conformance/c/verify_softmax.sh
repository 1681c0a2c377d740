#!/bin/sh
# Verifies a softmax in C with a C compiler and the files of this folder, and nothing else: the program is that of
# FORMAT.md, sections 5 and 9.
#
#     sh verify_softmax.sh              the softmax of FORMAT.md
#     sh verify_softmax.sh mine.c       yours: a file with a function of the same name and arguments
#
# Exit status: 0 if every case passes, 2 if one fails, 3 if there was none, 1 if it does not compile.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
mine=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The C program in the section of that number.
section() {
    awk -v head="## $1. " '/^## /{ on = index($0, head) == 1 } /^```/{ c = on && /c$/; next } c' "$here/FORMAT.md"
}

section 5 > "$work/program.c"
section 9 > "$work/first.c"
if [ -n "$mine" ]; then # in the place of the page's
    [ -r "$mine" ] || { echo "verify_softmax.sh: cannot read $mine" >&2; exit 1; }
    sed -e '/^static void softmax(/,/^}/d' -e '/^enum /r '"$mine" "$work/first.c" > "$work/second.c"
    mv "$work/second.c" "$work/first.c"
fi
cat "$work/first.c" >> "$work/program.c"
${CC:-cc} -std=c99 -O2 "$work/program.c" -o "$work/program" -lm || exit 1
"$work/program" "$here"/ops/softmax/*.json
