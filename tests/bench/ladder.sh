#!/usr/bin/env bash
# What each kind of negative is worth: one start, one number of steps, five ways to choose negatives, three seeds.
#
#   tests/bench/ladder.sh DATA OUT [MODEL [train flags…]]
#
# DATA holds squad/train-v1.1.json.gz and squad/dev-v1.1.json.gz; OUT is a folder for models, runs and tables. Questions
# of SQuAD dev are asked of train and dev paragraphs together, or with LADDER_SEARCHED=dev of dev's alone, which spares
# a transformer nine tenths of the encoding. Nothing of dev is looked at before the last command: settings are the
# program's defaults, the last model of each training is taken, dev's gold passages are never mined. LADDER_SEEDS names
# the seeds; with none the mining alone is done, and several runs may then share OUT with a seed each.
#
#   in-batch    the batch's other positives alone
#   random      + one random passage a question
#   bm25        + one of the three best BM25 passages, only the gold passage left out
#   filtered    + the same without those that hold the answer or nearly repeat the gold passage
#   second      + mined again, half sparse and half dense, with the model of `filtered`; from the same start
set -euo pipefail
data=$1 out=$2 model=${3:-builtin}
shift $(($# < 3 ? $# : 3))
flags=("$@")
parallax=${PARALLAX:-target/release/parallax}
train=$data/squad/train-v1.1.json.gz dev=$data/squad/dev-v1.1.json.gz
searched=("$train" "$dev")
if [ "${LADDER_SEARCHED:-}" = dev ]; then searched=("$dev"); fi
mkdir -p "$out/runs"
export PARALLAX_INDEXES=$out/indexes

quietly() { "$@" 2>>"$out/log"; }
index() { # NAME ENCODER SOURCE…
    local name=$1 encoder=$2
    shift 2
    [ -e "$PARALLAX_INDEXES/$name/CURRENT" ] || quietly "$parallax" build-index "$@" --name "$name" --encoder "$encoder"
}
mine() { # INDEX NAME FLAGS…
    local index=$1 name=$2
    shift 2
    [ -e "$out/$name.jsonl" ] || quietly "$parallax" mine-negatives "$index" --data "$train" --protect "$dev" \
        --negatives 3 "$@" -o "$out/$name.jsonl" >"$out/$name.txt"
}
rung() { # NAME EXAMPLES SEED FLAGS…
    local name=$1-$3 examples=$2 seed=$3
    shift 3
    [ -e "$out/$name/train.json" ] || quietly "$parallax" train --model "$model" --examples "$out/$examples.jsonl" \
        --seed "$seed" "$@" "${flags[@]}" -o "$out/$name"
    [ -e "$out/runs/$name.trec" ] && return
    index "asked-$name" "$out/$name" "${searched[@]}"
    quietly "$parallax" compare "asked-$name" --data "$dev" --system dense --measure R@5,RR@10 \
        --runs "$out/runs/$name" >/dev/null
    mv "$out/runs/$name/dense.trec" "$out/runs/$name.trec"
}

index start "$model" "${searched[@]}"
index mined none "$train" "$dev"
mine mined random --source random
mine mined bm25 --answers off --duplicates keep
mine mined filtered
for seed in ${LADDER_SEEDS-1 2 3}; do
    rung in-batch filtered "$seed" --negatives 0
    rung random random "$seed"
    rung bm25 bm25 "$seed"
    rung filtered filtered "$seed"
    index "filtered-$seed" "$out/filtered-$seed" "$train" "$dev"
    mine "filtered-$seed" "second-$seed" --source mix:sparse=.5,dense=.5
    rung second "second-$seed" "$seed"
    systems=dense
    for name in in-batch random bm25 filtered second; do systems+=,run:$out/runs/$name-$seed.trec; done
    echo "seed $seed"
    "$parallax" compare start --data "$dev" --system "$systems" --baseline "run:$out/runs/in-batch-$seed.trec" \
        --measure R@5,RR@10 --json "$out/seed-$seed.json" 2>>"$out/log" | tee "$out/seed-$seed.txt"
done
if ls "$out"/seed-*.json >/dev/null 2>&1; then python3 "$(dirname "$0")/ladder.py" "$out"; fi
