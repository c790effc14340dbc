//! The house rules as tests, over every file that git tracks.
//!
//! Each rule is a function from sources to violations, tried on a text that breaks it; one test prints what breaks any
//! of them, all at once. Rules that a compiler lint can express live in the workspace's Cargo.toml instead.

#[cfg(test)]
mod attributes;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod source;
#[cfg(test)]
mod words;

#[test]
fn every_house_rule_holds() {
    let tree = source::Tree::load();
    let sources = tree.sources();
    let rules = [
        (
            "begin each file with //!: what it decides or owns, what it must not know",
            lines::without_opening(&sources),
        ),
        ("keep files short: split by noun", lines::long_files(&sources)),
        ("keep functions short: say it in smaller steps", lines::long_functions(&sources)),
        ("never unwrap outside tests: answer an error", attributes::unwraps(&sources)),
        ("expect at most twice in ten thousand lines: answer an error", attributes::expects(&sources)),
        (
            "never ignore a test or allow a lint: #[expect(lint, reason = \"..\")]",
            attributes::waivers(&sources),
        ),
        ("name modules and types by a noun that says something", words::empty_words(&sources)),
        ("depend in one direction and share the lints", manifests::violations(&tree.manifests())),
        ("touch libraries and the outside world only where they belong", imports::violations(&sources)),
        ("mention only files that exist in documents", documents::dead_paths(&tree)),
        ("cite only documents that exist in comments", documents::dead_citations(&tree)),
        ("name no path of somebody's machine", documents::local_paths(&tree)),
    ];
    let broken: Vec<String> = rules
        .iter()
        .filter(|(_, violations)| !violations.is_empty())
        .map(|(rule, violations)| format!("{rule}\n  {}", violations.join("\n  ")))
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
