//! `demo`: the bare binary does the main job anywhere.

use crate::support::TestEnv;

#[test]
fn the_demo_needs_nothing_but_the_binary() {
    let env = TestEnv::new();
    let screen = env.ok("demo");
    for part in ["훈민정음", "sparse", "dense", "bm25", "tfidf", "hybrid", "R@20", "answer-recall@20", "ann_recall@10"]
    {
        assert!(screen.contains(part), "{part}:\n{screen}");
    }
    // It can be run again, and what it leaves is an index like any other.
    env.ok("demo -q");
    assert!(env.ok("check demo --deep").contains("every byte"));
    assert!(env.ok("info demo").contains("builtin"));
    // An index of the user's own that is called `demo` is left alone.
    env.write("mine.jsonl", "{\"_id\": \"a\", \"text\": \"alpha\"}\n");
    env.ok("build-index mine.jsonl --name demo --force");
    assert_eq!(env.run("demo").code, 2);
    assert!(env.ok("query demo alpha --json").contains("\"a\""));
}
