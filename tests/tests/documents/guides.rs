//! The guides for Rust: a reader who pastes what they print has programs that build.

use crate::{markdown, read, root};

#[test]
fn the_manifest_of_a_guide_has_the_features_that_its_programs_use() {
    for page in ["docs/rust.md", "docs/rust-async.md"] {
        let (_, blocks) = markdown::split(&read(&root().join(page)));
        let all = |language: &str| -> String {
            blocks.iter().filter(|block| block.language == language).map(|block| &*block.text).collect()
        };
        let (manifest, programs) = (all("toml"), all("rust"));
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for (path, feature) in [("ipc_client::testing", "testing"), ("tokio::time", "time")] {
            let is_named = dependencies.contains(&format!("\"{feature}\""));
            assert!(is_named || !programs.contains(path), "{page} uses {path} without the feature {feature}");
        }
    }
}
