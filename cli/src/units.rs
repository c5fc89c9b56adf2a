//! Sizes, rates and durations as people write and read them.

use std::time::Duration;

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Reads `4096`, `256MiB`, `1.5 GiB`, `10M` (binary as well) or `10MB` (decimal) as bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| format!("'{text}' does not start with a number"))?;
    let (prefix, decimal) = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => (0, false),
        unit => {
            let unknown = || format!("'{unit}' is not a unit of bytes");
            let prefix = unit.get(..1).and_then(|letter| "kmgtp".find(letter)).ok_or_else(unknown)?;
            match &unit[1..] {
                "" | "ib" => (prefix + 1, false),
                "b" => (prefix + 1, true),
                _ => return Err(unknown()),
            }
        }
    };
    let factor = if decimal { 1000_f64 } else { 1024_f64 }.powi(prefix as i32);
    Ok((number * factor) as u64)
}

/// `1.5 MiB`; whole bytes below 1 KiB.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1.5 MiB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", size(bytes_per_second.max(0.0) as u64))
}

/// `3.2 s`, `2:05`, `1:02:05`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("256MiB", 256 << 20),
            ("1.5 GiB", 3 << 29),
            ("10m", 10 << 20),
            ("10MB", 10_000_000),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1 x", "1MiBs", "1é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_times_are_shown() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
        assert_eq!(rate(-1.0), "0 B/s");
        assert_eq!(duration(Duration::from_millis(3210)), "3.2 s");
        assert_eq!(duration(Duration::from_secs(125)), "2:05");
        assert_eq!(duration(Duration::from_secs(3725)), "1:02:05");
    }
}
