#!/usr/bin/env bash
# Chromium from the system's own packages, where there is none yet. As root: make browser
set -euo pipefail
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null; then
    echo "$name is installed."
    exit 0
  fi
done
if command -v apt-get >/dev/null; then
  echo "Installing chromium, about 100 MB; about a minute."
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
elif command -v dnf >/dev/null; then
  dnf install -y -q chromium
elif command -v brew >/dev/null; then
  brew install --cask chromium
else
  echo "Install Chromium by your system's package manager." >&2
  exit 1
fi
echo "Installed."
