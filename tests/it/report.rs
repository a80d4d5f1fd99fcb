//! `compare --report`: files in five formats, an earlier report beside this one, and the page in a real browser.

use crate::support::browser::{Browser, Shown};
use crate::support::{TestEnv, bundled};
use parallax::compare::report::{Format, json, model};
use std::path::Path;

/// The report with every section and the worst of names, which unit tests render too.
#[allow(dead_code)] // The plainer ones are for those.
#[path = "../../src/compare/report/sample.rs"]
mod sample;

fn read(env: &TestEnv, name: &str) -> String {
    std::fs::read_to_string(env.path(name)).unwrap()
}

#[test]
fn one_comparison_is_written_in_every_format() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let mut words = vec!["compare", "b", "--data", &dev, "--system", "bm25,hybrid", "--baseline", "bm25"];
    words.extend(["--measure", "nDCG@10,R@5"]);
    for file in ["r.html", "r.md", "r.tex", "r.csv", "r.json"] {
        words.extend(["--report", file]);
    }
    let outcome = env.run_words(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("wrote r.html") && outcome.stdout.contains("nDCG@10"));
    let report = json::read(&env.path("r.json")).unwrap();
    let rests = report.rests_on.as_ref().unwrap();
    let manifest = std::fs::read(env.path("indexes/b/gen-1/manifest.json")).unwrap();
    assert_eq!(rests.manifest, sha256(&manifest), "the digest is the file's own");
    let mean = report.systems[1].measures["nDCG@10"].mean;
    assert!(read(&env, "r.csv").contains(&format!("hybrid,nDCG@10,{mean},341,")));
    let printed = format!("{mean:.4}").replacen("0.", ".", 1);
    for file in ["r.html", "r.md", "r.tex"] {
        let text = read(&env, file);
        assert!(text.contains(&printed) && text.contains(&rests.manifest), "{file}");
    }
    let page = read(&env, "r.html");
    let differs = |query: &&String| {
        let of = |system: usize| report.systems[system].value(query, "nDCG@10");
        of(0) != of(1)
    };
    let changed: Vec<&String> = report.questions.keys().filter(differs).collect();
    assert!(changed.len() > 10);
    for query in changed {
        // Apostrophes and quotes are escaped on the page.
        let words = report.questions[query].split(['\'', '"', '&']).max_by_key(|part| part.len()).unwrap();
        assert!(page.contains(words), "the bar of {query} names its question");
    }
    // A stored report renders to the same page.
    assert_eq!(Format::Html.render(&report).unwrap(), page);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_earlier_report_stands_beside() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let compare = |more: &[&str]| {
        let words = ["compare", "b", "--data", &dev, "--system", "bm25,hybrid", "--measure", "nDCG@10"];
        env.run_words(&[&words[..], more].concat())
    };
    assert_eq!(compare(&["--report", "old.json"]).code, 0);
    let same = compare(&["--against", "old.json", "--report", "new.md"]);
    assert!(same.stdout.contains("+.0000 [+.0000, +.0000]  p = 1.000"), "{}", same.stdout);
    assert!(same.stdout.contains("paired over the 341 questions in both"), "{}", same.stdout);
    assert!(read(&env, "new.md").contains("Beside `old.json`"));
    // Another BM25 under the same name, over fewer questions.
    let mut old = json::read(&env.path("old.json")).unwrap();
    for system in &mut old.systems {
        let dropped: Vec<String> = system.per_query.keys().take(41).cloned().collect();
        system.per_query.retain(|query, _| !dropped.contains(query));
        for values in system.per_query.values_mut() {
            values.insert("nDCG@10".into(), 0.0);
        }
    }
    env.write("worse.json", json(&old).unwrap());
    let better = compare(&["--against", "worse.json"]);
    assert!(better.stdout.contains("in both") && better.stdout.contains("]* p < .001"), "{}", better.stdout);
    assert!(better.stdout.contains("41 are new and 0 are gone"), "{}", better.stdout);
    old.systems.iter_mut().for_each(|system| system.per_query.clear());
    env.write("none.json", json(&old).unwrap());
    let refused = compare(&["--against", "none.json"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("no question in common"), "{}", refused.stderr);
}

#[test]
fn what_cannot_be_written_or_read_is_said_before_the_work() {
    let env = TestEnv::new();
    let refused = |words: &str, code: i32, says: &[&str]| {
        let outcome = env.run(&format!("compare none --data none.json {words}"));
        assert_eq!(outcome.code, code, "{words}: {}", outcome.stderr);
        for word in says {
            assert!(outcome.stderr.contains(word), "{words}: {}", outcome.stderr);
        }
    };
    refused("--report r.pdf", 2, &["`r.pdf`", ".html, .md, .tex, .csv and .json"]);
    refused("--report r", 2, &["no ending"]);
    refused("--report no/where/r.md", 1, &["mkdir -p no/where"]);
    refused("--against absent.json", 1, &["absent.json"]);
    env.write("other.json", "{\"name\": 1}");
    refused("--against other.json", 1, &["no report of `compare`"]);
    env.write("later.json", "{\"format\": 2}");
    refused("--against later.json", 1, &["format 2", "reads 1"]);
    env.write("broken.json", "{\"format\": 1,\n \"systems\": 3}");
    refused("--against broken.json", 1, &["broken.json:2"]);
}

/// What must not be on a page, as sentences: page and parts wider than the window, texts of drawings outside of them, over
/// each other or too small to read, and anything loaded.
const FAULTS: &str = r#"
const faults = [];
const say = (what, element) => faults.push(what + ": " + (element.textContent || element.className).trim().slice(0, 60));
const page = document.scrollingElement, width = document.documentElement.clientWidth;
if (page.scrollWidth > width) faults.push(`the page is ${page.scrollWidth} wide in a window of ${width}`);
for (const element of document.querySelectorAll("main *")) {
  if (element.closest("svg") && element.tagName !== "svg") continue;
  const box = element.getBoundingClientRect();
  const scrolls = element.parentElement.closest(".scroll");
  if (!scrolls && (box.right > width + 0.5 || box.left < -0.5)) say("beside the window", element);
  if (element.matches("td, th") && element.scrollWidth > element.clientWidth + 1) say("wider than its cell", element);
}
let drawings = 0, texts = 0;
for (const drawing of document.querySelectorAll("svg.chart")) {
  drawings += 1;
  const frame = drawing.getBoundingClientRect();
  const found = [...drawing.querySelectorAll("text")].map((text) => [text, text.getBoundingClientRect()]);
  for (const [text, box] of found) {
    texts += 1;
    if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 || box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5)
      say("outside its drawing", text);
    if (box.height < 10) say(`only ${box.height} high`, text);
  }
  found.forEach(([text, a], i) => found.slice(i + 1).forEach(([, b]) => {
    const apart = a.right <= b.left + 0.5 || b.right <= a.left + 0.5 || a.bottom <= b.top + 2 || b.bottom <= a.top + 2;
    if (!apart) say("two texts over each other", text);
  }));
  for (const mark of drawing.querySelectorAll("rect, path.mark")) {
    const box = mark.getBBox(), view = drawing.viewBox.baseVal;
    if (box.x < -0.5 || box.y < -0.5 || box.x + box.width > view.width + 0.5 || box.y + box.height > view.height + 0.5) say("a mark outside", mark);
  }
}
const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
if (loaded.length) faults.push("loaded " + loaded.join(", "));
return {faults, drawings, texts, width: innerWidth, ground: getComputedStyle(document.body).backgroundColor};
"#;

fn looked_at(browser: &Browser, page: &Path, least: u64) {
    for (size, shown, ground) in [
        ((390, 844), Shown::Light, "rgb(251, 250, 247)"),
        ((390, 844), Shown::Dark, "rgb(21, 24, 29)"),
        ((768, 1024), Shown::Light, "rgb(251, 250, 247)"),
        ((1440, 900), Shown::Light, "rgb(251, 250, 247)"),
        ((1440, 900), Shown::Dark, "rgb(21, 24, 29)"),
        // A4 less its margins, at 96 dots an inch.
        ((688, 1002), Shown::Print, "rgb(255, 255, 255)"),
    ] {
        browser.open(page, size, shown);
        let seen = browser.run(FAULTS);
        assert_eq!(seen["faults"], serde_json::json!([]), "{size:?} {shown:?}");
        assert_eq!(seen["width"], size.0, "a phone shows the page unscaled");
        assert_eq!(seen["ground"], ground, "{shown:?}");
        assert!(seen["drawings"].as_u64() >= Some(least) && seen["texts"].as_u64() > Some(20), "{seen}");
        assert_eq!(browser.console(), serde_json::json!([]), "{size:?} {shown:?}");
    }
    // `%PDF-` in base64.
    assert!(browser.print().starts_with("JVBERi0"));
}

#[test]
fn the_page_holds_in_a_real_browser() {
    let Some(browser) = Browser::start("the report in a real browser") else { return };
    let env = TestEnv::new();
    let dev = bundled(&env);
    let words = ["compare", "b", "--data", &dev, "--baseline", "bm25", "--report", "bundled.html"];
    let outcome = env.run_words(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    looked_at(&browser, &env.path("bundled.html"), 9);
    let full = env.write("full.html", Format::Html.render(&sample::full()).unwrap());
    looked_at(&browser, &full, 7);
    // The checks can fail: a drawing with two texts on one place and one outside, a picture from the network, a wide box.
    let spoiled = "<!doctype html><script>throw new Error('spoiled')</script><main><svg class=chart viewBox='0 0 9 9' width=99 height=99><text x=1 y=5>ab</text><text x=1 y=5>ab</text></svg>\
                   <p style='width:9999px'>wide</p><img src='http://127.0.0.1:PORT/status'></main>"
        .replace("PORT", &browser.port().to_string());
    browser.open(&env.write("spoiled.html", spoiled), (390, 844), Shown::Light);
    let faults = browser.run(FAULTS)["faults"].to_string();
    for fault in ["the page is", "over each other", "outside its drawing", "beside the window", "loaded"] {
        assert!(faults.contains(fault), "{fault} is not in {faults}");
    }
    assert_ne!(browser.console(), serde_json::json!([]), "an error shows on the console");
}
