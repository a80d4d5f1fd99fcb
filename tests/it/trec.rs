//! Measures against trec_eval's own code, on runs that were made to disagree about.

use crate::support::{TestEnv, needed};
use parallax::collection::run::trec_order;
use parallax::random::Random;
use parallax::{Measure, PassageId, Qrels, QueryId, Ranking, Run, evaluate};
use serde_json::{Map, Value, json};
use std::process::Command;

/// Runs that are generated.
const RUNS: u64 = 1_000;

/// Ours, theirs; `RR@10` has no name there and is their `recip_rank` cut by us in the script.
const NAMES: [(&str, &str); 22] = [
    ("nDCG", "ndcg"),
    ("nDCG@1", "ndcg_cut_1"),
    ("nDCG@3", "ndcg_cut_3"),
    ("nDCG@10", "ndcg_cut_10"),
    ("nDCG@100", "ndcg_cut_100"),
    ("R@1", "recall_1"),
    ("R@5", "recall_5"),
    ("R@20", "recall_20"),
    ("R@100", "recall_100"),
    ("AP", "map"),
    ("AP@3", "map_cut_3"),
    ("AP@10", "map_cut_10"),
    ("AP@100", "map_cut_100"),
    ("RR", "recip_rank"),
    ("RR@10", "recip_rank_10"),
    ("P@1", "P_1"),
    ("P@5", "P_5"),
    ("P@20", "P_20"),
    ("Success@1", "success_1"),
    ("Success@5", "success_5"),
    ("Success@10", "success_10"),
    ("Success@20", "success_20"),
];

/// A judged collection of its own and a run over it: some with ties, some without; graded; with grades of 0 and below,
/// unjudged passages, queries that the run lacks and queries that nobody judged; ids of which no byte order is obvious.
fn case(number: u64) -> (Qrels, Run) {
    const IDS: [&str; 12] = ["doc", "Doc", "d", "가나", "가", "é", "z", "한글 ", "日本", "ß", "😀", "a-"];
    let mut random = Random::of(number, "trec");
    let (mut qrels, mut run) = (Qrels::new(), Run::new("made"));
    let passages = 5 + random.below(60);
    let id = |i: usize| PassageId::from(format!("{}{}", IDS[i % IDS.len()].trim(), i / IDS.len() * 7));
    for q in 0..1 + random.below(6) {
        let query = QueryId::from(format!("{}{q}", IDS[random.below(IDS.len())].trim()));
        let judged = random.below(5);
        for i in 0..passages {
            // From hardly anything to nearly everything is judged.
            if random.below(5) <= judged && random.below(2) == 0 {
                qrels.insert(query.clone(), id(i), [0, 0, 1, 1, 2, 3, -1, 7][random.below(8)]);
            }
        }
        // trec_eval loops for ever over a query whose highest grade is below 0.
        if qrels.get(&query).is_some_and(|judgments| judgments.values().all(|grade| *grade < 0)) {
            qrels.insert(query.clone(), id(passages), 0);
        }
        if random.below(6) == 0 {
            continue;
        }
        let scored = (0..passages).filter_map(|i| {
            let score = match number % 3 {
                0 => random.normal(),
                1 => random.below(4) as f64,
                _ => -(random.below(1000) as f64) / 8.0,
            };
            (random.below(4) > 0).then(|| (id(i), score))
        });
        run.insert(query, Ranking::new(scored.collect()));
    }
    (qrels, run)
}

#[test]
fn a_thousand_generated_runs_measure_as_trec_eval_measures_them() {
    let Some(packages) = needed("PARALLAX_TEST_TREC", "1,000 runs measured by trec_eval's own code") else { return };
    let env = TestEnv::new();
    let cases: Vec<(Qrels, Run)> = (0..RUNS).map(case).collect();
    let wire = |(qrels, run): &(Qrels, Run)| {
        let judged: Map<String, Value> = qrels
            .iter()
            .map(|(query, judgments)| {
                let grades = judgments.iter().map(|(passage, grade)| (passage.to_string(), json!(grade)));
                (query.to_string(), Value::Object(grades.collect()))
            })
            .collect();
        let ranked: Map<String, Value> = run
            .iter()
            .map(|(query, ranking)| {
                let scores = ranking.iter().map(|(passage, score)| (passage.to_string(), json!(score)));
                (query.to_string(), Value::Object(scores.collect()))
            })
            .collect();
        json!({"qrels": judged, "run": ranked})
    };
    let file = env.write("cases.json", serde_json::to_vec(&cases.iter().map(wire).collect::<Vec<_>>()).unwrap());
    let script = env.write("measure.py", MEASURE);
    let output = Command::new("python3")
        .env("PYTHONPATH", &packages)
        .args([script.as_os_str(), file.as_os_str()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let measures: Vec<Measure> = NAMES.iter().map(|(name, _)| name.parse().unwrap()).collect();
    let (mut compared, mut tied, mut absent, mut between) = (0, 0, 0, 0);
    for (number, ((qrels, run), theirs)) in cases.iter().zip(&theirs).enumerate() {
        let ours = evaluate(qrels, run, &measures);
        assert!(ours.queries.iter().eq(qrels.iter().map(|(query, _)| query)), "all judged queries, and no others");
        for (q, query) in ours.queries.iter().enumerate() {
            let ranking = run.get(query).filter(|ranking| !ranking.is_empty());
            absent += usize::from(ranking.is_none());
            tied += usize::from(ranking.is_some_and(|r| trec_order(r).windows(2).any(|pair| pair[0].1 == pair[1].1)));
            for (m, (name, their)) in NAMES.iter().enumerate() {
                let value = ours.values[m][q].unwrap();
                // -c: what the run lacks counts 0.
                let expected = theirs[query.as_str()].get(their).map_or(0.0, |value| value.as_f64().unwrap());
                assert!((value - expected).abs() < 1e-12, "run {number}, {query}, {name}: {value} and not {expected}");
                assert!(ranking.is_some() || value == 0.0);
                between += usize::from(expected > 0.0 && expected < 1.0);
                compared += 1;
            }
        }
    }
    // The runs hold what they were made for.
    assert!(
        compared > 50_000 && between > 20_000 && tied > 800 && absent > 300,
        "{compared} {between} {tied} {absent}"
    );
}

/// Measures every case with pytrec_eval, per query.
const MEASURE: &str = r#"
import json, sys, pytrec_eval
kinds = {"ndcg", "ndcg_cut.1,3,10,100", "recall.1,5,20,100", "map", "map_cut.3,10,100", "recip_rank", "P.1,5,20",
         "success.1,5,10,20"}
out = []
for case in json.load(open(sys.argv[1], encoding="utf-8")):
    qrels, run = case["qrels"], case["run"]
    found = pytrec_eval.RelevanceEvaluator(qrels, kinds).evaluate(run) if qrels else {}
    for values in found.values():
        rr = values["recip_rank"]
        values["recip_rank_10"] = rr if rr * 10 >= 1 - 1e-9 else 0.0
    out.append(found)
json.dump(out, sys.stdout)
"#;
