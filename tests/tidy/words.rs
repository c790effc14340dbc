//! Names: no `mod.rs`, and no type or module named by a word that says nothing.

use syn::{Ident, visit::Visit};

use crate::source::Source;

/// Words that name no noun of this project (docs/LEXICON.md).
const EMPTY: [&str; 11] = [
    "manager", "handler", "helper", "helpers", "util", "utils", "common", "misc", "cluster", "node",
    "instance",
];

/// `mod.rs` files, and types and modules whose name contains an empty word.
pub(crate) fn empty_words(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        let file = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if file == "mod" {
            violations.push(format!("{}: use NAME.rs beside NAME/", source.path));
        }
        let mut names = Names(vec![file.to_owned()]);
        names.visit_file(&source.syntax);
        let bad = names.0.iter().filter(|name| parts(name).iter().any(|part| EMPTY.contains(&part.as_str())));
        violations.extend(bad.map(|name| format!("{}: {name}", source.path)));
    }
    violations
}

/// The words of a CamelCase or snake_case name, lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            parts.push(String::new());
        }
        if let (Some(part), true) = (parts.last_mut(), letter != '_') {
            part.extend(letter.to_lowercase());
        }
    }
    parts
}

struct Names(Vec<String>);

impl Names {
    fn note(&mut self, name: &Ident) {
        self.0.push(name.to_string());
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.note(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.note(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.note(&item.ident);
        syn::visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.note(&item.ident);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.note(&item.ident);
        syn::visit::visit_item_mod(self, item);
    }
}

#[test]
fn empty_words_are_found_whole_and_nowhere_else() {
    let text = "struct PoolManager;\nmod string_utils {}\nstruct Handle;\nenum Commonly {}\nfn helper() {}\n";
    let found = empty_words(&[Source::parse("a/src/x.rs", text), Source::parse("a/src/mod.rs", "")]);
    assert_eq!(
        found,
        ["a/src/x.rs: PoolManager", "a/src/x.rs: string_utils", "a/src/mod.rs: use NAME.rs beside NAME/"]
    );
}
