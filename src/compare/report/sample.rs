//! Reports for tests: a plain one, and one with every section and the worst of names.

use super::model::*;
use std::collections::BTreeMap;

/// Twenty questions; bm25 at .5 and hybrid at .75, proven.
pub(crate) fn report() -> Report {
    let system = |name: &str, ndcg: f64, recall: f64| {
        let mean = |mean: f64| Mean { mean, n: 20, interval: None };
        // Around their mean, so that nothing is alike.
        let off = |i: usize| if i.is_multiple_of(2) { 0.05 } else { -0.05 };
        let values = |i: usize| [("nDCG@10".to_string(), ndcg + off(i)), ("R@5".to_string(), recall - off(i))].into();
        SystemReport {
            name: name.into(),
            seconds: Some(0.02),
            measures: [("nDCG@10".to_string(), mean(ndcg)), ("R@5".to_string(), mean(recall))].into(),
            curve: [(1, 0.3), (5, recall), (100, 0.95)].map(|(k, recall)| CurvePoint { k, recall }).into(),
            margins: (0..20).map(|i| (format!("q{i:02}"), i as f64 - 7.5)).collect(),
            per_query: (0..20).map(|i| (format!("q{i:02}"), values(i))).collect(),
            ..SystemReport::default()
        }
    };
    let mut hybrid = system("hybrid", 0.75, 0.8);
    let difference = |mean: f64, interval: [f64; 2], p: f64| Difference {
        mean,
        interval,
        p_randomization: p,
        p_t: p,
        n: 20,
        ..Difference::default()
    };
    hybrid.differences = [
        ("nDCG@10".to_string(), difference(0.25, [0.12, 0.38], 0.012)),
        ("R@5".to_string(), difference(0.2, [-0.02, 0.42], 0.07)),
    ]
    .into();
    Report {
        format: FORMAT,
        command: "parallax compare sample --data sample.json --baseline bm25".into(),
        index: "indexes/sample".into(),
        data: "data/sample.json".into(),
        queries: 21,
        judged: 20,
        averaging: "all judged queries, absent ones count 0 (trec_eval -c)".into(),
        fusion: "convex(min-max, dense weight 0.40)".into(),
        baseline: Some("bm25".into()),
        program: "parallax 0.1.0".into(),
        rests_on: Some(RestsOn {
            manifest: "0a1b2c".into(),
            judgments: "0d".into(),
            passages: 1_234,
            ..RestsOn::default()
        }),
        measures: vec!["nDCG@10".into(), "R@5".into()],
        systems: vec![system("bm25", 0.5, 0.6), hybrid],
        questions: (0..20).map(|i| (format!("q{i:02}"), format!("question {i}"))).collect(),
        ..Report::default()
    }
}

/// A name with what each format takes for its own, Hangul, and no place to break.
pub(crate) const NASTY: &str = "run:훈민정음/<script>alert(1)</script>|a_b,\"c\" & 50% {#1} $x^2~\\ [y]*`z`";

/// Every section, with [`NASTY`] wherever a name or a text may stand.
pub(crate) fn full() -> Report {
    let mut report = report();
    let long = "가나다라마바사아자차카타파하".repeat(12) + &"unbreakable".repeat(20);
    let mut nasty = report.systems[1].clone();
    nasty.name = NASTY.into();
    nasty.differences.values_mut().for_each(|difference| difference.p_holm = Some(0.024));
    let detectable = Detectable { n: 20, effect: 0.1, for_one_point: Some(2_000) };
    nasty.detectable.insert("nDCG@10".into(), detectable);
    report.systems.push(nasty);
    for (i, system) in report.systems.iter_mut().enumerate() {
        let by = 1.0 + i as f64;
        system.cost = Some(Cost {
            index_bytes: 14_200_000,
            queries: 20,
            p50_ms: 0.5 * by,
            p99_ms: 2.0 * by,
            qps_one: 1234.5,
            qps_all: 2345.6,
        });
        for mean in system.measures.values_mut() {
            mean.interval = Some([mean.mean - 0.08, mean.mean + 0.08]);
        }
    }
    let names: Vec<String> = report.systems.iter().map(|system| system.name.clone()).collect();
    report.command = format!("parallax compare sample --data '{NASTY}'");
    report.data = format!("data/{NASTY}");
    report.missing_gold = 3;
    report.costs = Some(Costs {
        sparse_bytes: 14_200_000,
        dense_bytes: Some(31_000_000),
        build_seconds: Some(75.0),
        threads: 2,
        peak_memory_bytes: Some(454_000_000),
    });
    report.ann_recall = Some(AnnRecall { k: 10, mean: 0.998, queries: 20, graph_in_use: true });
    report.questions.insert("q00".into(), NASTY.into());
    report.questions.insert("q01".into(), long.clone());
    report.answer_gap = (names.iter())
        .map(|name| AnswerGap {
            system: name.clone(),
            k: 20,
            matching: "strict".into(),
            n: 20,
            counts: [("both", 12), ("neither", 3), (NASTY, 5), ("gold only: no answer in it", 0)]
                .map(|(name, n)| Count { name: name.into(), n })
                .into(),
        })
        .collect();
    let slice = |name: &str, n: usize| Slice {
        name: name.into(),
        n,
        means: names.iter().map(|name| (name.clone(), [("nDCG@10".to_string(), 0.5)].into())).collect(),
    };
    report.slices = vec![Slicing {
        by: "question length".into(),
        groups: vec![slice("up to 5 words", 12), slice(NASTY, 7)],
        left_out: 1,
    }];
    let cause = |cause: &str, meaning: &str, main: usize, all: usize| CauseCount {
        cause: cause.into(),
        meaning: meaning.into(),
        main,
        all,
    };
    report.causes = Some(Causes {
        k: 10,
        n: 20,
        systems: (names.iter())
            .map(|name| CausesOfSystem {
                system: name.clone(),
                missed: 7,
                causes: vec![
                    cause("length", "found without length (b = 0)", 3, 4),
                    cause("unexplained", "unexplained", 4, 4),
                    cause("graph", "exact search finds it", 0, 0),
                ],
            })
            .collect(),
        left_out: vec![NASTY.into()],
    });
    let hit = |id: &str, title: &str, text: &str, relevant: bool| MissHit {
        id: id.into(),
        title: title.into(),
        text: text.into(),
        score: 12.5,
        relevant,
        holds_answer: Some(relevant),
    };
    report.misses = vec![Miss {
        query: "q01".into(),
        text: long.clone(),
        behind: NASTY.into(),
        gold: vec!["d1".into(), NASTY.into()],
        gold_text: Some(NASTY.into()),
        answers: vec!["훈민정음 해례본".into(), NASTY.into()],
        lists: (names.iter())
            .map(|name| MissList {
                system: name.clone(),
                missed: true,
                rank: Some(17),
                reasons: vec![MissReason { cause: "length".into(), evidence: NASTY.into() }],
                hits: vec![hit("d7", NASTY, &long, false), hit("d1", "훈민정음", "간송 전형필이 지켰다", true)],
            })
            .collect(),
    }];
    report.tuning = Some(Tuning {
        fusion: "convex(min-max, dense weight 0.35)".into(),
        against: "hybrid".into(),
        measure: "nDCG@10".into(),
        queries: 20,
        folds: 5,
        held_out: Difference {
            mean: 0.01,
            interval: [-0.02, 0.03],
            p_randomization: 0.4,
            p_t: 0.4,
            n: 20,
            ..Difference::default()
        },
        verdict: "no gain proven".into(),
        tried: vec![Tried { fusion: NASTY.into(), mean: 0.76 }],
    });
    let row = |name: &String| AgainstRow {
        system: name.clone(),
        measure: "nDCG@10".into(),
        then: 0.7,
        now: 0.75,
        difference: Difference {
            mean: 0.05,
            interval: [0.01, 0.09],
            p_randomization: 0.01,
            p_t: 0.01,
            n: 20,
            ..Difference::default()
        },
    };
    report.against = Some(Against {
        file: NASTY.into(),
        command: NASTY.into(),
        manifest: Some("ff".repeat(32)),
        both: 20,
        only_now: 0,
        only_then: 0,
        notes: vec![NASTY.into()],
        rows: names.iter().map(row).collect(),
    });
    report
}

/// A report without anything: what an empty or very old one may be.
pub(crate) fn bare() -> Report {
    let per_query = BTreeMap::from([("q".to_string(), BTreeMap::from([("R@5".to_string(), 1.0)]))]);
    let measures = BTreeMap::from([("R@5".to_string(), Mean { mean: 1.0, n: 1, interval: None })]);
    let system = SystemReport { name: "bm25".into(), measures, per_query, ..SystemReport::default() };
    Report { format: FORMAT, judged: 1, systems: vec![system], ..Report::default() }
}
