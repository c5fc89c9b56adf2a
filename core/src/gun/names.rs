//! Which names may be segments of a path, and the souls that paths have. Not here: what is stored there.
//!
//! Hashes, content ids and node ids come from users, and one wrong name in a put ends the process of a stock relay
//! (names of `Object.prototype`) or is judged by other rules (`~` and `#` mark signed and content-addressed nodes).

use crate::base::error::{Error, Result};
use crate::base::limits;

/// Names that every JavaScript object has, and the name of a node's own data.
const FORBIDDEN: [&str; 13] = [
    "_",
    "__proto__",
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// Whether a segment may be written to any relay.
pub fn is_allowed(segment: &str) -> bool {
    is_safe(segment)
        && !segment.starts_with('~')
        && !segment.contains('#')
        && !segment.contains("<?")
        && !segment.chars().any(char::is_control)
}

/// Whether a soul or key that came in a message may be kept and passed on.
pub fn is_safe(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::MAX_GUN_NAME_BYTES && !FORBIDDEN.contains(&name)
}

/// `InvalidArgument` for a path with a segment that must not be written, or one that is empty, too deep or too long.
pub fn check(path: &[String]) -> Result<()> {
    if path.is_empty() || path.len() > limits::MAX_GUN_PATH {
        return Err(Error::invalid("path", format_args!("has {} segments", path.len())));
    }
    if let Some(wrong) = path.iter().find(|segment| !is_allowed(segment)) {
        let shown: String = wrong.chars().take(64).collect();
        return Err(Error::invalid("path", format_args!("`{shown}` cannot be a name in a Gun graph")));
    }
    let length: usize = path.iter().map(|segment| segment.len() + 1).sum();
    if length > limits::MAX_GUN_NAME_BYTES {
        return Err(Error::invalid("path", format_args!("has {length} bytes")));
    }
    Ok(())
}

/// The soul that gun.js gives a path it writes to.
pub fn soul(path: &[String]) -> String {
    path.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kill_relays_are_refused() {
        for wrong in ["", "_", "constructor", "__proto__", "toString", "~alias", "a#b", "a<?3", "a\u{1b}b", "a\nb"] {
            assert!(!is_allowed(wrong), "{wrong:?}");
            assert!(check(&["dig-peers".to_owned(), wrong.to_owned()]).is_err(), "{wrong:?}");
        }
        for good in ["a", "a/b", "my video.mp4", "é", "constructors", "a~b", "~a~".trim_start_matches('~')] {
            assert!(is_allowed(good), "{good:?}");
        }
        assert!(check(&[]).is_err());
        assert!(check(&vec!["a".to_owned(); limits::MAX_GUN_PATH + 1]).is_err());
        assert!(check(&["a".repeat(limits::MAX_GUN_NAME_BYTES), "b".to_owned()]).is_err());
        assert_eq!(soul(&["a".to_owned(), "b".to_owned()]), "a/b");
    }
}
