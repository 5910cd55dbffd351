#!/usr/bin/env bash
# Has this change made the exported model slower, larger or different?
#
# Run it anywhere in a git repository. It exports the model of this checkout and that of the base,
# verifies the new one, builds the TensorRT engine of both (no GPU is needed), measures the new one,
# and compares them on this machine. Exit code: 0 all well, 1 a check failed, 2 something could not
# be done. The folder regression/ then holds
#   table.md        what differs, for the pull request
#   junit.xml       the same for other tools
#   history.jsonl   one line a run, appended
#   bench/          result.json, result.md, result.html: the new bundle on this machine
#   base/ new/      the bundles
#
# Settings, all in the environment:
#   EXPORT          the command that exports the model; runs at the root of each checkout, with
#                   --output FOLDER behind it
#   BASE_REF        the commit to compare with; by default that which the pull request is for, or
#                   the last tag before this commit, or the commit before
#   BASE_EXPORT     the command for the base, where it is another
#   ENGINE          the command that adds an engine, with the bundle behind it; "" for no engine
#   COMPARE         more options of `frcrn-export compare`, such as "--max-slowdown 5% --pairs speech"
#   BENCH_SECONDS   about how long the new bundle is measured; 60 by default
#   PACKAGE         what pip installs where there is no frcrn-export
set -euo pipefail

say() { echo "== $*" >&2; }
stop() {
    echo "error: $*" >&2
    exit 2
}

export_example='frcrn-export onnx --checkpoint model.pt --fp16 --streaming'
[ -n "${EXPORT:-}" ] || stop "EXPORT is not set: the command that exports the model, such as" \
    "EXPORT='$export_example' $0"
ENGINE=${ENGINE-frcrn-export trt --fp16 --gpu rtx4090d --backend tensorrt-rtx}
PACKAGE=${PACKAGE:-frcrn-export[cpu,export,rtx,bench]}

root=$(git rev-parse --show-toplevel) || stop "$PWD: no git repository"
cd "$root"
out=$root/regression

# The commit to compare with.
base=${BASE_REF:-${GITHUB_BASE_REF:+origin/$GITHUB_BASE_REF}}
base=${base:-$(git describe --tags --abbrev=0 HEAD^ 2>/dev/null || echo HEAD^)}
git rev-parse --verify --quiet "$base^{commit}" >/dev/null ||
    stop "$base: no such commit here; fetch it (in a workflow: fetch-depth: 0) or give another: BASE_REF"

command -v frcrn-export >/dev/null || python3 -m pip install --quiet "$PACKAGE"

rm -rf "$out/base" "$out/new" "$out/bench" "$out/table.md" "$out/junit.xml"
mkdir -p "$out"
tree=$(mktemp -d)
trap 'git worktree remove --force "$tree" 2>/dev/null; rm -rf "$tree"' EXIT
git worktree add --quiet --detach "$tree" "$base"

# bundle CHECKOUT FOLDER COMMAND: export a model, and add its engine.
bundle() {
    say "export of $(git -C "$1" describe --always --tags): $3 --output $2"
    (cd "$1" && bash -c "$3 --output \"\$1\"" export "$2") || stop "$1: no model was exported"
    [ -z "$ENGINE" ] || bash -c "$ENGINE \"\$1\"" engine "$2" || stop "$2: no engine was built"
}

# check COMMAND: exit code 1 is remembered, and the rest goes on; any other ends here.
failed=0
check() {
    say "$*"
    "$@" || { [ $? = 1 ] && failed=1; } || exit 2
}

# The table where people look: the summary of the job, and a comment of the pull request.
publish() {
    [ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat "$out/table.md" >>"$GITHUB_STEP_SUMMARY"
    case ${GITHUB_REF:-} in refs/pull/*/merge) ;; *) return 0 ;; esac
    [ -n "${GH_TOKEN:-}" ] && command -v gh >/dev/null || return 0
    local number=${GITHUB_REF#refs/pull/}
    comment "${number%/merge}" || say "no comment: a fork's token may not write one; see the summary"
}

# comment NUMBER: every run writes the same comment of a pull request again.
comment() {
    local issues=repos/$GITHUB_REPOSITORY/issues mark='<!-- frcrn-export regression -->' ids
    ids=$(gh api --paginate "$issues/$1/comments" \
        --jq ".[] | select(.body | startswith(\"$mark\")) | .id") || return 1
    { echo "$mark" && head -c 60000 "$out/table.md"; } >"$out/comment.md"
    if [ -n "$ids" ]; then
        gh api --silent --method PATCH "$issues/comments/${ids%%$'\n'*}" -F "body=@$out/comment.md"
    else
        gh api --silent "$issues/$1/comments" -F "body=@$out/comment.md"
    fi
}

bundle "$root" "$out/new" "$EXPORT"
bundle "$tree" "$out/base" "${BASE_EXPORT:-$EXPORT}"
check frcrn-export verify "$out/new"
check frcrn-export bench "$out/new" --output "$out/bench" --seconds "${BENCH_SECONDS:-60}"
# shellcheck disable=SC2086 # COMPARE holds several words
check frcrn-export compare "$out/base" "$out/new" --markdown "$out/table.md" \
    --junit "$out/junit.xml" --history "$out/history.jsonl" --note "$(git rev-parse HEAD)" \
    ${GITHUB_ACTIONS:+--github} ${COMPARE:-}
publish
exit "$failed"
