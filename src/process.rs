//! What this process has taken of the machine so far.
//!
//! Linux tells it in `/proc/self/status`; elsewhere nothing is known, and nothing is guessed.

/// The most memory the process has held at once, in bytes (resident, mapped index files that were read included); `None`
/// where the operating system does not tell.
pub fn peak_memory() -> Option<u64> {
    high_water(&fs_err::read_to_string("/proc/self/status").ok()?)
}

/// The line `VmHWM:   12345 kB`, in bytes.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_where_there_is_one() {
        assert_eq!(high_water("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 5 kB\n"), Some(1234 * 1024));
        for status in ["", "VmHWM: many kB", "VmHWM: 12 MB"] {
            assert_eq!(high_water(status), None, "{status}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_was_held_stays_in_the_mark() {
        let before = peak_memory().unwrap();
        let held = vec![1u8; 64 << 20];
        assert!(held.iter().map(|byte| u64::from(*byte)).sum::<u64>() == 64 << 20);
        drop(held);
        assert!(peak_memory().unwrap() >= before.max(64 << 20));
    }
}
