//! Names as Java writes them.

/// `zip_code` as `zipCode`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut characters = word.chars();
        camel.extend(characters.next().into_iter().flat_map(char::to_uppercase));
        camel.push_str(characters.as_str());
    }
    camel
}

/// `DarkRed` as `DARK_RED`, `HTTPCode` as `HTTP_CODE`.
pub(crate) fn constant_case(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut constant = String::new();
    for (at, character) in characters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| characters[before]);
        let begins_word = character.is_uppercase()
            && before.is_some_and(|before| {
                let next_is_lower = characters.get(at + 1).is_some_and(|c| c.is_lowercase());
                before != '_' && (!before.is_uppercase() || next_is_lower)
            });
        if begins_word {
            constant.push('_');
        }
        constant.extend(character.to_uppercase());
    }
    constant
}

/// The order of Java's `String.compareTo`.
pub(crate) fn java_order(left: &str, right: &str) -> std::cmp::Ordering {
    left.encode_utf16().cmp(right.encode_utf16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_those_that_java_programs_use() {
        assert_eq!(camel_case("zip_code"), "zipCode");
        assert_eq!(camel_case("name"), "name");
        assert_eq!(camel_case("_a_b2_c"), "aB2C");
        assert_eq!(constant_case("Red"), "RED");
        assert_eq!(constant_case("DarkRed"), "DARK_RED");
        assert_eq!(constant_case("HTTPCode"), "HTTP_CODE");
        assert_eq!(constant_case("Utf8"), "UTF8");
        assert_eq!(constant_case("ALREADY_SO"), "ALREADY_SO");
    }
}
