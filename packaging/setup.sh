#!/usr/bin/env bash
# Makes .venv complete: `packaging/setup.sh`, run from the repository root (make does it before every target).
# Returns at once when nothing has changed; after a failure or an interruption, running it again repairs what is there.
set -euo pipefail

venv=.venv
complete=$venv/.complete  # written last; holds the folder that the environment was made for
unfinished=$venv/.unfinished  # there while pip changes the environment
log=$venv/install.log
version_check='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

is_current() {
    [ "$(cat "$complete" 2>/dev/null)" = "$PWD" ] && "$venv/bin/python" -c 'import pip' 2>/dev/null &&
        [ -z "$(find requirements.txt pyproject.toml packaging -type f ! -name '*.pyc' ! -name '*.md' -newer "$complete")" ]
}

is_usable() {  # made for this folder, with a Python and a pip that run, and not left half-written by an interrupted pip
    [ ! -e "$unfinished" ] && "$venv/bin/python" -c "import pip; $version_check" 2>/dev/null &&
        [ "$(cat "$complete" 2>/dev/null || echo "$PWD")" = "$PWD" ]
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if "$candidate" -c "import venv, ensurepip; $version_check" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 with its venv module was found (tried: ${PYTHON:-python3.11 python3.12 python3.13 python3})." \
        "Install one (Debian, Ubuntu: apt install python3 python3-venv; conda: conda create -n python312 python=3.12)" \
        "and name it if it is not on the PATH: make PYTHON=/path/to/python3.12 ..."
}

fail() {
    echo >&2
    printf 'setup: %s\n' "$*" | fold -s -w 110 >&2
    exit 1
}

install() {  # what follows goes to pip; its whole output to the log, what takes long to the terminal
    if ! "$venv/bin/python" -m pip --disable-pip-version-check install "$@" 2>&1 | tee -a "$log" | interesting; then
        rm -f "$unfinished"  # pip itself undoes what it could not finish
        tail -n 30 "$log" | cut -c 1-600 >&2
        fail "installing the packages failed; pip's last words are above, all of them in $log." \
            "Without a network it cannot work; the disk needs 8 GB ($(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}') GB are free here)." \
            "Then run the same command again: what was downloaded is kept."
    fi
}

interesting() {
    grep --line-buffered -oE '^ *Downloading .*[0-9]{2,}(\.[0-9]+)? MB\)|^Building wheel[^:]*|^Installing collected packages' || true
}

is_current && exit 0
if ! is_usable; then
    [ ! -L "$venv" ] || [ ! -e "$complete" ] ||
        fail "$venv is a link to an environment that was made for $(cat "$complete"), which stays as it is. Remove the link, and run this again."
    python=$(find_python)
    [ ! -e "$venv" ] || echo "setup: $venv is incomplete or broken, and is made anew"
    echo "setup: creating $venv with $("$python" --version) (once: a few minutes, 8 GB of disk)"
    "$python" -m venv --clear "$venv" || fail "$python could not create $venv: see above (is the disk full or read-only?)."
fi
rm -f "$complete"
: > "$log"
touch "$unfinished"
echo "setup: installing requirements.txt"
install $(grep -E '^(pip|setuptools)==' requirements.txt)
install --no-compile --no-build-isolation -r requirements.txt
install --no-build-isolation --no-deps -e .
echo "setup: compiling the installed modules"  # on all cores; pip would use one
"$venv/bin/python" -m compileall -q -j 0 -x '/tests/' "$venv/lib" >> "$log" 2>&1 || true  # some are templates, not Python
rm "$unfinished"
printf '%s\n' "$PWD" > "$complete"
echo "setup: $venv is ready"
