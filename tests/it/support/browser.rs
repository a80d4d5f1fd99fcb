//! A headless Chromium that tests open pages in: WebDriver is HTTP with JSON, and little of it is needed.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// As root there is no sandbox; the rest keeps it from reaching for the network on its own account.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    Light,
    Dark,
    Print,
}

/// A browser with a profile of its own; ends with the test.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; without Chromium and its driver says what was left out. With `PARALLAX_TEST_ALL` set nothing may be.
    pub fn start(what: &str) -> Option<Self> {
        let spawned = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = spawned else {
            let message = format!("left out: {what} (install Debian's chromium and chromium-driver)");
            assert!(std::env::var_os("PARALLAX_TEST_ALL").is_none(), "{message}");
            println!("{message}");
            return None;
        };
        let said = BufReader::new(driver.stdout.take().unwrap());
        let port = |line: std::io::Result<String>| {
            let line = line.unwrap();
            line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok()
        };
        let port = said.lines().find_map(port).expect("chromedriver names its port");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Browser { driver, port, session: String::new(), _profile: profile };
        let folder = format!("--user-data-dir={}", browser._profile.path().display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([folder.as_str()]).collect();
        let wanted = json!({"browserName": "chrome", "goog:chromeOptions": {"args": flags}, "goog:loggingPrefs": {"browser": "ALL"}});
        let session = browser.ask("POST", "/session", &json!({"capabilities": {"alwaysMatch": wanted}}));
        browser.session = session["sessionId"].as_str().expect("a session").to_string();
        Some(browser)
    }

    /// Where its driver listens: something on the network that a page could ask.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a file in a window of a size.
    pub fn open(&self, file: &Path, (width, height): (u32, u32), shown: Shown) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.developer("Emulation.setDeviceMetricsOverride", &size);
        let (media, scheme) = match shown {
            Shown::Light => ("screen", "light"),
            Shown::Dark => ("screen", "dark"),
            Shown::Print => ("print", "light"),
        };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.developer("Emulation.setEmulatedMedia", &json!({"media": media, "features": features}));
        self.command("url", &json!({"url": format!("file://{}", file.display())}));
    }

    /// What a script returns on the page.
    pub fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// What the page said on its console, since it was last asked.
    pub fn console(&self) -> Value {
        self.command("se/log", &json!({"type": "browser"}))
    }

    /// The page on A4 as a PDF in base64.
    pub fn print(&self) -> String {
        let printed = self.command("print", &json!({"page": {"width": 21.0, "height": 29.7}}));
        printed.as_str().expect("a document").to_string()
    }

    fn developer(&self, command: &str, parameters: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{name}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).unwrap();
        let mut answer: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(answer["value"].get("error").is_none(), "{method} {path}: {answer}");
        answer["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        // The driver takes its browser with it.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
