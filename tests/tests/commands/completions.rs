//! `sluice completions`.

use std::process::Command;

use sluice_tests::command::CommandLine;

#[test]
fn completions_name_every_command_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = CommandLine::new(&["completions", shell]).run();
        assert_eq!((script.code, script.err.as_str()), (0, ""), "{shell}");
        for command in ["explain", "check", "hash", "diff", "completions"] {
            assert!(script.out.contains(command), "{shell}: {command}");
        }
    }
    let unknown = CommandLine::new(&["completions", "tcsh"]).run();
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
    assert!(unknown.err.contains("bash"), "{}", unknown.err);
}

#[test]
fn completions_complete_in_bash() {
    let script = CommandLine::new(&["completions", "bash"]).run().out;
    let complete = |words: &str| {
        let asked = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             COMPREPLY=()\n\
             _sluice sluice \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
             echo \"${{COMPREPLY[*]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &asked]).output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
        assert!(output.stderr.is_empty(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    for (words, expected) in [
        ("sluice expl", "explain"),
        ("sluice config d", "diff"),
        ("sluice explain --rl", "--rls"),
        ("sluice check --token", "--token-file"),
        ("sluice slo r", "rules"),
    ] {
        assert_eq!(complete(words), expected, "{words}");
    }
}
