//! The C library in the hands of C and C++ programs: the sources are in `tests/c`.

#[path = "common/library.rs"]
mod library;

use std::path::Path;

use library::{
    C_COMPILERS, C_FLAGS, CPP_COMPILERS, CPP_FLAGS, Link, both, build, command, library, root, run, scratch,
};

/// C++17 and C++20 of the house's flags.
fn cpp_flags(standard: &'static str) -> Vec<&'static str> {
    [standard].into_iter().chain(CPP_FLAGS).collect()
}

/// Runs a program of `tests/c` as built by every C compiler.
fn in_c(source: &str) {
    for compiler in C_COMPILERS {
        run(&mut program(&build(compiler, &C_FLAGS, source, Link::Shared)));
    }
}

fn program(path: &Path) -> std::process::Command {
    command(path.to_str().expect("paths here are UTF-8"))
}

/// Runs `path` under memcheck: no error, no leak.
fn memcheck(path: &Path, arguments: &[&str]) {
    run(command("valgrind")
        .args([
            "--quiet",
            "--error-exitcode=9",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite,indirect,possible",
        ])
        .arg(path)
        .args(arguments));
}

#[test]
fn nonsense_is_refused_by_name() {
    in_c("tests/c/arguments.c");
}

#[test]
fn the_process_wide_clock_takes_calls_in_any_order() {
    in_c("tests/c/lifecycle.c");
}

#[test]
fn a_counter_that_is_set_back_or_ahead_is_found_out_and_waited_for_by_nobody() {
    in_c("tests/c/leap.c");
}

#[test]
fn a_forked_child_reads_on_and_the_parent_notices_nothing() {
    in_c("tests/c/fork.c");
}

#[test]
fn a_forked_child_goes_on_with_its_parents_clock_whatever_the_parents_threads_were_doing() {
    in_c("tests/c/restart.c");
}

#[test]
fn an_exec_hands_no_descriptor_of_ours_on() {
    in_c("tests/c/exec.c");
}

#[test]
fn a_process_ends_well_however_it_ends_while_clocks_run_and_threads_read() {
    in_c("tests/c/exits.c");
}

#[test]
fn a_thread_that_is_cancelled_in_a_call_ends_behind_it_and_the_process_goes_on() {
    in_c("tests/c/cancels.c");
}

#[test]
fn a_thread_with_a_stack_of_64_kib_starts_waits_restarts_and_stops() {
    in_c("tests/c/stacks.c");
}

#[test]
fn static_objects_read_stop_and_start_clocks_before_main_and_after_it() {
    for link in [Link::Shared, Link::Static] {
        for compiler in CPP_COMPILERS {
            run(&mut program(&build(compiler, &cpp_flags("-std=c++17"), "tests/c/statics.cpp", link)));
        }
    }
}

#[test]
fn copies_of_the_library_live_side_by_side_fork_and_outlive_their_unloading() {
    let shared = &library().shared;
    let copy = scratch("copies").join("libntpclock.so");
    std::fs::copy(shared, &copy).expect("the target directory is writable");
    run(program(&build("gcc", &C_FLAGS, "tests/c/copies.c", Link::Shared)).arg(&copy));
    run(program(&build("gcc", &C_FLAGS, "tests/c/copies.c", Link::Static)).args([shared, &copy]));
}

#[test]
fn every_thread_of_the_library_blocks_every_signal() {
    in_c("tests/c/signals.c");
}

#[test]
fn a_reading_makes_no_system_call() {
    in_c("tests/c/silent.c");
}

#[test]
fn reading_allocates_nothing_and_may_be_done_in_a_signal_handler() {
    in_c("tests/c/reads.c");
}

#[test]
fn everything_at_once_is_well_and_no_thread_reads_less_than_another_has_read() {
    in_c("tests/c/stress.c");
}

#[test]
fn on_two_processors_no_thread_reads_less_than_it_has_seen_from_the_other() {
    in_c("tests/c/processors.c");
}

#[test]
fn a_process_that_was_stopped_reads_on_rightly() {
    in_c("tests/c/stopped.c");
}

#[test]
fn what_a_host_forbids_or_has_run_out_of_is_named_or_done_without_aloud() {
    in_c("tests/c/shortages.c");
}

#[test]
fn instants_are_compared_waited_for_and_converted() {
    in_c("tests/c/moments.c");
}

#[test]
fn events_wake_an_event_loop_and_a_callback_and_survive_a_fork() {
    in_c("tests/c/events.c");
}

#[test]
fn events_wake_a_loop_of_libuv() {
    for compiler in C_COMPILERS {
        // The library comes before the program that asks for it.
        let flags = [&C_FLAGS[..], &["-Wl,--no-as-needed", "-luv"]].concat();
        run(&mut program(&build(compiler, &flags, "tests/c/loop.c", Link::Shared)));
    }
}

#[test]
fn cpp_hears_of_disruptions_and_steps() {
    for compiler in CPP_COMPILERS {
        run(&mut program(&build(compiler, &cpp_flags("-std=c++17"), "tests/c/leap.cpp", Link::Shared)));
    }
}

#[test]
fn the_last_error_belongs_to_its_thread() {
    in_c("tests/c/errors.c");
}

#[test]
fn a_clock_of_ones_own_follows_a_server_of_ones_own() {
    in_c("tests/c/handles.c");
}

#[test]
fn the_static_library_serves_as_well() {
    run(&mut program(&build("gcc", &C_FLAGS, "tests/c/handles.c", Link::Static)));
    run(&mut program(&build("g++", &cpp_flags("-std=c++17"), "tests/c/face.cpp", Link::Static)));
}

#[test]
fn cpp_owns_throws_and_tells_the_time() {
    for compiler in CPP_COMPILERS {
        for standard in ["-std=c++17", "-std=c++20"] {
            run(&mut program(&build(compiler, &cpp_flags(standard), "tests/c/face.cpp", Link::Shared)));
        }
    }
}

#[test]
fn a_thousand_starts_and_stops_leave_nothing_behind() {
    let cycles = build("gcc", &C_FLAGS, "tests/c/cycles.c", Link::Shared);
    run(program(&cycles).args(["1000", "resident"]));
}

#[test]
fn memcheck_finds_nothing() {
    memcheck(&build("gcc", &C_FLAGS, "tests/c/cycles.c", Link::Shared), &["1000"]);
    for source in ["tests/c/events.c", "tests/c/moments.c"] {
        memcheck(&build("gcc", &C_FLAGS, source, Link::Shared), &["alone"]);
    }
    for source in ["tests/c/arguments.c", "tests/c/errors.c", "tests/c/lifecycle.c"] {
        memcheck(&build("gcc", &C_FLAGS, source, Link::Shared), &[]);
    }
}

#[test]
fn the_smallest_programs_print_the_time_and_the_sources() {
    // Nobody listens there: they say so, and print all the same.
    for now in [
        build("gcc", &C_FLAGS, "bindings/c/now.c", Link::Shared),
        build("clang++", &cpp_flags("-std=c++17"), "bindings/cpp/now.cpp", Link::Shared),
    ] {
        let output = program(&now).arg("127.0.0.1:1").output().expect("it was just built");
        let text = both(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in ["time    20", "offset  +0.000000 ms", "bound   unknown", "status  UNSYNCHRONIZED"] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
        assert!(text.contains("unreachable  127.0.0.1:1 "), "{text}");

        let output = program(&now).arg("127.0.0.1:x").output().expect("it was just built");
        assert_eq!(output.status.code(), Some(2), "{}", both(&output));
    }
}

#[test]
fn an_installed_library_is_found_built_against_and_removed() {
    // `install` builds nothing, so everything it installs is made here.
    run(command("make").args(["lib", "command"]));
    let stage = scratch("install");
    let _ = std::fs::remove_dir_all(&stage);
    let make = |verb| {
        run(command("make")
            .arg(verb)
            .args(["PREFIX=/usr", "LIBDIR=/usr/lib/here"])
            .arg(format!("DESTDIR={}", stage.display())))
    };
    make("install");

    let library = stage.join("usr/lib/here");
    let consumer = stage.join("consumer");
    let flags = run(command("pkg-config")
        .args(["--cflags", "--libs", "ntpclock"])
        .env("PKG_CONFIG_PATH", library.join("pkgconfig"))
        .env("PKG_CONFIG_SYSROOT_DIR", &stage));
    run(command("gcc")
        .args(C_FLAGS)
        .args(["-pthread", "-o"])
        .arg(&consumer)
        .arg(root().join("tests/c/errors.c"))
        .args(flags.split_whitespace()));
    // Whatever the program was linked with, it runs with the installed library, found by its SONAME.
    run(program(&consumer).env("LD_LIBRARY_PATH", &library));
    run(program(&stage.join("usr/bin/ntpclock")).arg("--version"));

    std::fs::remove_file(&consumer).expect("it was just built");
    make("uninstall");
    let left = run(command("find").arg(&stage).args(["-not", "-type", "d"]));
    assert_eq!(left, "", "uninstall leaves files behind");
}

#[test]
fn install_says_what_is_missing() {
    let nowhere = scratch("no-such-build");
    let output = command("make")
        .arg("install")
        .env("CARGO_TARGET_DIR", &nowhere)
        .arg(format!("DESTDIR={}", nowhere.display()))
        .output()
        .expect("make is installed");
    assert!(!output.status.success());
    let text = both(&output);
    assert!(text.contains("libntpclock.so is missing; run make first"), "{text}");
}
