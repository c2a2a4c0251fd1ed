//! docs/sidecar.md has every option.

use clap::CommandFactory;
use llm_router_sidecar::commands::Cli;

#[test]
fn every_flag_and_variable_is_in_the_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sidecar.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut command = Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    let options: Vec<_> = serve.get_arguments().filter(|argument| argument.get_env().is_some()).collect();
    assert!(options.len() > 10);
    for option in options {
        let (flag, variable) = (option.get_long().unwrap(), option.get_env().unwrap().to_str().unwrap());
        assert!(page.contains(&format!("`--{flag}`")), "no --{flag}");
        assert!(page.contains(&format!("`{variable}`")), "no {variable}");
    }
}
