//! File names: the one sanitiser through which a peer's name becomes a path component, and the names of our own files.
//! Not here: choosing a directory, and whether a file of that name exists.

use crate::base::ids::FileHash;
use crate::base::limits;

/// Hidden directory for state when the user names none (the default of `persistenceDir` starts with it).
pub const STATE_PREFIX: &str = ".dig-nat";
/// The hash cache inside a state directory. Set-aside versions have a suffix.
pub const HASH_CACHE: &str = "dig-nat-hashes.redb";

const PART_SUFFIX: &str = ".part";
const TEMPORARY_SUFFIX: &str = ".dig-tmp";
/// Hex digits of the hash in the name of a part file: enough to tell downloads with one target apart.
const PART_HASH_DIGITS: usize = 8;
/// An extension longer than this is not worth keeping when a name is cut.
const MAX_EXTENSION_BYTES: usize = 16;

/// Makes one safe path component of a name that came from a peer; `None` if nothing is left of it.
///
/// The last component of a path is taken, whatever the separator. Control characters and invisible ones that reorder
/// text (`U+202E` turns `gpj.exe` around) are removed, characters that Windows forbids become `_`, dots and spaces
/// at the ends are dropped (so no peer creates a hidden file, `.` or `..`), names reserved on Windows get a `_` in
/// front, and the result is cut to [`limits::MAX_FILE_NAME_BYTES`] at a character boundary, keeping a short extension.
pub fn sanitize(name: &str) -> Option<String> {
    let component = name.rsplit(['/', '\\']).map(clean).find(|component| !component.is_empty())?;
    let component = cut(&component, limits::MAX_FILE_NAME_BYTES);
    if is_reserved(&component) {
        return Some(cut(&format!("_{component}"), limits::MAX_FILE_NAME_BYTES));
    }
    Some(component)
}

/// The hidden part file of a download: `.<name>.<first 8 hex digits>.part`.
pub fn part_name(target_name: &str, hash: &FileHash) -> String {
    let digits = hash.to_string();
    let digits = &digits[..PART_HASH_DIGITS];
    let room = limits::MAX_FILE_NAME_BYTES - (1 + 1 + PART_HASH_DIGITS + PART_SUFFIX.len());
    format!(".{}.{digits}{PART_SUFFIX}", prefix(target_name, room))
}

/// A temporary file beside `name`; `unique` tells writers apart.
pub fn temporary_name(name: &str, unique: &str) -> String {
    let room = limits::MAX_FILE_NAME_BYTES - (1 + 1 + unique.len() + TEMPORARY_SUFFIX.len());
    format!(".{}.{unique}{TEMPORARY_SUFFIX}", prefix(name, room))
}

/// `name (2).ext`, for a target that must not replace `name.ext`.
pub fn numbered_name(name: &str, number: u32) -> String {
    let (stem, extension) = split_extension(name);
    let number = format!(" ({number})");
    let room = limits::MAX_FILE_NAME_BYTES.saturating_sub(number.len() + extension.len());
    format!("{}{number}{extension}", prefix(stem, room))
}

/// Whether a file of this name is ours (part file, temporary file, state) and therefore never shared.
pub fn is_own(name: &str) -> bool {
    name.starts_with(STATE_PREFIX)
        || name.starts_with(HASH_CACHE)
        || (name.starts_with('.') && (name.ends_with(TEMPORARY_SUFFIX) || is_part(name)))
}

fn is_part(name: &str) -> bool {
    let Some((rest, digits)) = name.strip_suffix(PART_SUFFIX).and_then(|rest| rest.rsplit_once('.')) else {
        return false;
    };
    rest.starts_with('.')
        && digits.len() == PART_HASH_DIGITS
        && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn clean(component: &str) -> String {
    let cleaned: String = component
        .chars()
        .filter(|character| !character.is_control() && !is_invisible(*character))
        .map(|character| if matches!(character, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { character })
        .collect();
    trim(&cleaned).to_owned()
}

fn trim(name: &str) -> &str {
    name.trim_matches(|character: char| character == '.' || character.is_whitespace())
}

/// Marks that change the direction of text or do not show at all.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Devices of Windows, with or without an extension and in any case.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_uppercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device).is_some_and(|number| {
            let mut characters = number.chars();
            matches!((characters.next(), characters.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") || numbered("COM") || numbered("LPT")
}

/// At most `bytes` of a name, keeping its extension, without dots or spaces at the new end.
fn cut(name: &str, bytes: usize) -> String {
    if name.len() <= bytes {
        return name.to_owned();
    }
    let (stem, extension) = split_extension(name);
    format!("{}{extension}", trim(prefix(stem, bytes - extension.len())))
}

/// The extension with its dot, if there is a short one.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= MAX_EXTENSION_BYTES => name.split_at(dot),
        _ => (name, ""),
    }
}

/// The longest prefix of at most `bytes` that ends at a character boundary.
fn prefix(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_harmless() {
        for (name, expected) in [
            ("movie.mkv", Some("movie.mkv")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\Windows\\system32\\evil.dll", Some("evil.dll")),
            ("/", None),
            ("..", None),
            (". . .", None),
            ("", None),
            ("\0\r\n", None),
            ("a\0b\u{1b}[31m.txt", Some("ab[31m.txt")),
            ("dir/..", Some("dir")),
            (".bashrc", Some("bashrc")),
            ("  name. . ", Some("name")),
            ("stream.txt:hidden", Some("stream.txt_hidden")),
            ("a<b>c\"d|e?f*g", Some("a_b_c_d_e_f_g")),
            ("photo\u{202e}gpj.exe", Some("photogpj.exe")),
            ("con", Some("_con")),
            ("Nul.tar.gz", Some("_Nul.tar.gz")),
            ("COM1 .txt", Some("_COM1 .txt")),
            ("lpt³", Some("_lpt³")),
            ("com10", Some("com10")),
            ("console.log", Some("console.log")),
            ("日本語 ファイル.zip", Some("日本語 ファイル.zip")),
        ] {
            assert_eq!(sanitize(name).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let name = sanitize(&format!("{}.tar.gz", "é".repeat(300))).expect("plenty is left");
        assert!(name.len() <= 255 && name.len() > 250, "{}", name.len());
        assert!(name.ends_with("é.gz"), "{name}");
        let name = sanitize(&"x".repeat(300)).expect("plenty is left");
        assert_eq!(name.len(), 255);
        let name = sanitize(&format!("{}.{}", "x".repeat(200), "y".repeat(100))).expect("plenty is left");
        assert_eq!(name.len(), 255, "a long extension is not one");
        let name = sanitize(&format!("nul.{}", "x".repeat(300))).expect("plenty is left");
        assert_eq!((name.len(), &name[..5]), (255, "_nul."));
        assert_eq!(sanitize(&name), Some(name));
        assert_eq!(sanitize(&format!("a{}b", " ".repeat(300))).as_deref(), Some("a"), "no spaces at the new end");
    }

    #[test]
    fn the_sanitizer_never_gives_a_dangerous_name() {
        use crate::base::random::Jitter;
        let alphabet: Vec<char> = "./\\:*\0 \u{7f}\u{85}\u{202e}\u{a0}aAnNuUlLé💾.1".chars().collect();
        let mut jitter = Jitter::from_seed(7);
        for _ in 0..20_000 {
            let length = jitter.below(300);
            let name: String = (0..length).map(|_| alphabet[jitter.below(alphabet.len())]).collect();
            let Some(safe) = sanitize(&name) else { continue };
            assert!(!safe.is_empty() && safe.len() <= 255, "{name:?}");
            assert!(!safe.contains(['/', '\\', ':', '*']) && !safe.chars().any(char::is_control), "{name:?}");
            assert!(!safe.starts_with(['.', ' ']) && !safe.ends_with(['.', ' ']), "{name:?} -> {safe:?}");
            assert!(!is_own(&safe) && !is_reserved(&safe), "{name:?}");
            assert_eq!(sanitize(&safe).as_deref(), Some(&*safe), "sanitising twice is sanitising once");
        }
    }

    #[test]
    fn our_own_files_are_recognised() {
        let hash = FileHash::of(b"");
        assert_eq!(part_name("a.bin", &hash), ".a.bin.e3b0c442.part");
        for long in ["x".repeat(255), "é".repeat(127)] {
            let part = part_name(&long, &hash);
            assert!(part.len() <= 255 && is_own(&part), "{part}");
            let temporary = temporary_name(&long, "ffffffff-ffffffffffffffff");
            assert!(temporary.len() <= 255 && is_own(&temporary), "{temporary}");
        }
        assert!(is_own(".dig-nat-tools") && is_own("dig-nat-hashes.redb") && is_own("dig-nat-hashes.redb.damaged"));
        for others in ["a.part", ".a.part", ".a.e3b0c44.part", "a.e3b0c442.part", ".a.E3B0C442.part", ".hidden", "x"] {
            assert!(!is_own(others), "{others}");
        }
    }

    #[test]
    fn numbered_names_keep_the_extension() {
        assert_eq!(numbered_name("a.txt", 1), "a (1).txt");
        assert_eq!(numbered_name("noextension", 12), "noextension (12)");
        assert_eq!(numbered_name(".hidden", 1), ".hidden (1)");
        assert!(numbered_name(&"x".repeat(255), 9999).len() <= 255);
    }
}
