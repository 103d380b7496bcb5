#!/usr/bin/env bash
# Changes four modules in every small way that cosmic-ray knows, each in a copy of the project, and lists the changes that no test noticed.
set -euo pipefail
bin=$1
cd "$(dirname "$0")/.."
while read -r module tests; do
    copy=build/mutation/$(basename "$module" .py)
    rm -rf "$copy" && mkdir -p "$copy"
    git ls-files -z | xargs -0 cp --parents -t "$copy"
    (
        cd "$copy"
        cat > cosmic-ray.toml <<END
[cosmic-ray]
module-path = "$module"
timeout = 120.0
excluded-modules = []
test-command = "$bin/python -m pytest -x -q -p no:cacheprovider $tests"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
END
        "$bin/cosmic-ray" init cosmic-ray.toml session.sqlite
        "$bin/cr-filter-operators" session.sqlite cosmic-ray.toml
        "$bin/cosmic-ray" exec cosmic-ray.toml session.sqlite
        "$bin/cr-report" session.sqlite --show-diff --surviving-only
    )
done <<END
data/windows.py --noconftest tests/data/test_windows.py
data/splits.py --noconftest tests/data/test_splits.py
strategies/rules.py --noconftest tests/strategies/test_rules.py
runners/report/metrics.py tests/runners/test_metrics.py
END
