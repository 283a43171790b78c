#!/usr/bin/env bash
# Compares the contracts with those of the newest release tag, or else of the commit before.
# Passes without a word where there is nothing to compare with yet.
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
base=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || git rev-parse --verify --quiet HEAD~1 || true)
if [ -n "$base" ] && git cat-file -e "$base:protos/buf.yaml" 2>/dev/null; then
  cd protos
  buf breaking --against "../.git#ref=$base,subdir=protos"
fi
