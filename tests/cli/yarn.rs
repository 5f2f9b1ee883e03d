//! Clusters on YARN. No ResourceManager can be had for tests, so a server answers with the messages that
//! Apache Hadoop 3.4.1 documents ("ResourceManager REST APIs", "YARN Service API"); in
//! `services`, it starts the processes that a service consists of, too.

mod deployment;
mod services;
mod stub;

use serde_json::{Value, json};

use millpond_job::JobStatus;

use super::{Cluster, Ended, JOB, command};
use stub::{Response, Stub};

const ID: &str = "application_1503963985568_0002";

/// A run of the command by the user alice, who has no configuration of Hadoop.
fn millpond(arguments: &[&str]) -> Ended {
    by(&mut super::command(arguments))
}

fn by(command: &mut std::process::Command) -> Ended {
    let command = command
        .env_remove("YARN_CONF_DIR")
        .env("HADOOP_USER_NAME", "alice");
    command.output().expect("starts").into()
}

fn active() -> Response {
    state("ACTIVE")
}

fn state(state: &str) -> Response {
    let info = json!({"id": 1503963985568_u64, "state": "STARTED", "haState": state,
        "resourceManagerVersion": "3.4.1"});
    Response::json(200, &json!({ "clusterInfo": info }))
}

/// An application, as the ResourceManager tells it.
fn application(more: &[(&str, Value)]) -> Value {
    let mut app = json!({"id": ID, "user": "alice", "name": "words", "queue": "default",
        "state": "RUNNING", "finalStatus": "UNDEFINED", "progress": 100.0, "trackingUI": "ApplicationMaster",
        "trackingUrl": format!("http://rm.example:8088/proxy/{ID}/"), "diagnostics": "",
        "clusterId": 1503963985568_u64, "applicationType": "yarn-service", "applicationTags": "",
        "startedTime": 1504051500000_u64, "finishedTime": 0, "elapsedTime": 100,
        "amHostHttpAddress": "host100.cloud.com:8042", "amRPCAddress": "host100.cloud.com:40001"});
    for (key, value) in more {
        app[*key] = value.clone();
    }
    json!({ "app": app })
}

/// The same, as one of Flink whose REST API listens at `address`.
fn of_flink(address: &str) -> Value {
    let kind = ("applicationType", json!("Apache Flink"));
    application(&[kind, ("amRPCAddress", json!(address))])
}

/// A service whose job manager answers at `port` of this machine.
fn service(port: u16) -> Value {
    json!({"name": "words", "version": "0.1.0", "id": ID, "lifetime": -1, "state": "STABLE",
        "components": [{"name": "jobmanager", "state": "STABLE", "number_of_containers": 1,
            "launch_command": "millpond jobmanager", "resource": {"cpus": 1, "memory": "1600"},
            "configuration": {"properties": {}, "env": {}, "files": [{"type": "YAML",
                "dest_file": "config.yaml", "properties": {"rest.port": port.to_string()}}]},
            "containers": [{"id": "container_e03_1503963985568_0002_01_000002", "ip": "127.0.0.1",
                "hostname": "ctr-e03-1503963985568-0002-01-000002.example.site", "state": "READY",
                "launch_time": 1504051512412_u64, "bare_host": "127.0.0.1",
                "component_instance_name": "jobmanager-0"}]}],
        "configuration": {"properties": {}, "env": {}, "files": []}, "quicklinks": {}})
}

fn not_found() -> Response {
    let message = format!("java.lang.Exception: app with id: {ID} not found");
    Response::json(
        404,
        &json!({"RemoteException": {"exception": "NotFoundException", "message": message,
            "javaClassName": "org.apache.hadoop.yarn.webapp.NotFoundException"}}),
    )
}

/// An active ResourceManager that knows one application, and answers other questions by `other`.
fn resource_manager(app: Value, other: impl Fn(&str) -> Response + Send + Sync + 'static) -> Stub {
    Stub::serve(move |request| {
        assert_eq!(request.query["user.name"], "alice", "{}", request.path);
        Some(match request.path.strip_prefix("/ws/v1/cluster/") {
            Some("info") => active(),
            Some(path) if path.strip_prefix("apps/") == Some(ID) => Response::json(200, &app),
            _ => other(&request.path),
        })
    })
}

fn address_option(stub: &Stub) -> String {
    format!("-Dyarn.resourcemanager.webapp.address={}", stub.address())
}

/// `millpond list` of the application at a ResourceManager, which is asked once.
fn list(stub: &Stub, more: &[&str]) -> Ended {
    let address = address_option(stub);
    let once = "-Drest.retry.max-attempts=1";
    millpond(&[&["list", "-yid", ID, &address, once], more].concat())
}

const PHRASE: &str = "Couldn't retrieve Yarn cluster.";

#[test]
fn the_job_manager_of_an_application_is_found_for_each_action() {
    let cluster = Cluster::running();
    let rest = cluster.server.local_addr();
    let of_flink = resource_manager(of_flink(&rest.to_string()), |_| not_found());
    let of_service = resource_manager(application(&[]), move |path| match path {
        "/app/v1/services/words" => Response::json(200, &service(rest.port())),
        _ => not_found(),
    });
    let job = JOB.to_string();
    for stub in [of_flink, of_service] {
        let address = address_option(&stub);
        let listed = list(&stub, &[]);
        assert!(
            listed.stdout.contains(&job),
            "{}{}",
            listed.stdout,
            listed.stderr
        );
        assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
        let id = format!("-Dyarn.application.id={ID}");
        for given in [
            &["-t", "yarn-application", &id][..],
            &["-m", "yarn-cluster", "-yid", ID],
        ] {
            let listed = millpond(&[&["list", &address], given].concat());
            assert!(
                listed.stdout.contains(&job),
                "{}{}",
                listed.stdout,
                listed.stderr
            );
        }
        let taken = millpond(&["savepoint", &job, "/dir", "-yid", ID, &address]);
        assert!(
            taken.stdout.contains("Savepoint completed. Path: "),
            "{}",
            taken.stderr
        );
        let pair = &address[2..];
        let stopped = millpond(&["stop", "-p", "/dir", "-yid", ID, "-yD", pair, &job]);
        assert!(
            stopped.stdout.contains("Savepoint completed. Path: "),
            "{}",
            stopped.stderr
        );
        cluster
            .dispatcher
            .put_job(JOB, "KeyedCount-1000", JobStatus::Running);
        let pair = format!("-yD{pair}");
        let cancelled = millpond(&["cancel", "--yarnapplicationId", ID, &pair, &job]);
        assert!(
            cancelled.stdout.contains(&format!("Cancelled job {job}.")),
            "{}",
            cancelled.stderr
        );
        cluster
            .dispatcher
            .put_job(JOB, "KeyedCount-1000", JobStatus::Running);
    }
}

#[test]
fn of_a_pair_of_resource_managers_the_active_one_is_asked() {
    let cluster = Cluster::running();
    let rest = cluster.server.local_addr().to_string();
    let active = resource_manager(of_flink(&rest), |_| not_found());
    let to = format!("location: http://{}/\r\n", active.address());
    let standby = Stub::serve(move |request| {
        Some(match request.path.as_str() {
            "/ws/v1/cluster/info" => state("STANDBY"),
            _ => Response::new(307, &to, "This is standby RM."),
        })
    });
    let directory = tempfile::tempdir().expect("room");
    let site = |names: &[(&str, &str)]| {
        let property = |(name, value): &(&str, &str)| {
            let prefix = "yarn.resourcemanager.";
            format!("<property><name>{prefix}{name}</name><value>{value}</value></property>")
        };
        let properties: String = names.iter().map(property).collect();
        let text = format!("<?xml version=\"1.0\"?><configuration>{properties}</configuration>");
        std::fs::write(directory.path().join("yarn-site.xml"), text).expect("room");
    };
    let one = standby.address();
    let two = active.address();
    let pair = [
        ("ha.enabled", "true"),
        ("ha.rm-ids", "rm1,rm2"),
        ("webapp.address.rm1", &one),
        ("webapp.address.rm2", &two),
    ];
    let run = || {
        let arguments = [
            "list",
            "-yid",
            ID,
            "-Drest.retry.max-attempts=2",
            "-Drest.retry.delay=1ms",
        ];
        by(command(&arguments).env("HADOOP_CONF_DIR", directory.path()))
    };
    site(&pair);
    let listed = run();
    assert!(
        listed.stdout.contains(&JOB.to_string()),
        "{}",
        listed.stderr
    );
    site(&[("webapp.address", &one)]);
    run().failed(&[
        PHRASE,
        &format!("no active ResourceManager of YARN was found (tried 2 times) among {one}"),
        "yarn-site.xml",
        &format!("the ResourceManager at {one} is STANDBY"),
    ]);
    std::fs::write(directory.path().join("yarn-site.xml"), "<html>").expect("room");
    run().failed(&[PHRASE, "yarn-site.xml"]);
    let nowhere = tempfile::tempdir().expect("room");
    let arguments = ["list", "-yid", ID];
    by(command(&arguments).env("HADOOP_CONF_DIR", nowhere.path())).failed(&[
        PHRASE,
        "neither yarn.resourcemanager.webapp.address is set, nor is there a yarn-site.xml in the directory \
         of YARN_CONF_DIR or HADOOP_CONF_DIR",
    ]);
}

#[test]
fn an_application_without_a_job_manager_is_told_with_its_state() {
    let told = |app: Value, phrases: &[&str]| {
        let stub = resource_manager(app, |_| not_found());
        list(&stub, &[]).failed(&[&[PHRASE], phrases].concat());
    };
    told(
        application(&[("state", json!("ACCEPTED")), ("amRPCAddress", Value::Null)]),
        &[ID, "does not run yet, it is ACCEPTED"],
    );
    told(
        application(&[
            ("state", json!("KILLED")),
            ("finalStatus", json!("KILLED")),
            ("diagnostics", json!("Application was killed by user alice")),
        ]),
        &[
            "has ended: it is KILLED, with the final status KILLED",
            "killed by user alice",
        ],
    );
    told(
        application(&[("user", json!("bob"))]),
        &["set HADOOP_USER_NAME=bob"],
    );
    for address in [json!("host:-1"), json!("N/A"), Value::Null] {
        let kind = ("applicationType", json!("MAPREDUCE"));
        let app = application(&[kind, ("amRPCAddress", address)]);
        told(app, &["of the type \"MAPREDUCE\"", "expected host:port"]);
    }
    let mut starting = service(1);
    starting["components"][0]["containers"] = json!([]);
    let stub = resource_manager(application(&[]), move |_| Response::json(200, &starting));
    list(&stub, &[]).failed(&[
        PHRASE,
        "no container of its component \"jobmanager\" is ready",
    ]);
    let unknown = Stub::serve(|request| {
        Some(match request.path.ends_with("info") {
            true => active(),
            false => not_found(),
        })
    });
    list(&unknown, &[]).failed(&[PHRASE, &format!("knows no application {ID}"), "not found"]);
}

#[test]
fn a_resource_manager_that_refuses_or_talks_nonsense_is_told() {
    let told = |answer: fn() -> Response, phrases: &[&str]| {
        let stub = Stub::serve(move |request| {
            Some(match request.path.ends_with("info") {
                true => active(),
                false => answer(),
            })
        });
        list(&stub, &[]).failed(&[&[PHRASE], phrases].concat());
        // The first question of all may be answered like that as well.
        let stub = Stub::serve(move |_| Some(answer()));
        list(&stub, &[]).failed(&[PHRASE, "no active ResourceManager of YARN was found"]);
    };
    told(
        || {
            Response::new(
                401,
                "www-authenticate: Negotiate\r\n",
                "<html>Authentication required</html>",
            )
        },
        &["401", "Kerberos"],
    );
    told(
        || {
            let message = "User alice is not authorized";
            Response::json(
                403,
                &json!({"RemoteException": {"exception": "ForbiddenException",
                "message": message}}),
            )
        },
        &[
            "403",
            "the user \"alice\" may not do that (User alice is not authorized)",
        ],
    );
    told(
        || Response::new(302, "location: https://login.example/\r\n", ""),
        &["302", "https://login.example/"],
    );
    told(
        || Response::new(500, "", "<html>oops</html>"),
        &["500", "<html>oops</html>"],
    );
    told(
        || {
            Response::new(
                200,
                "content-type: text/html\r\n",
                "<html><body>Welcome</body></html>",
            )
        },
        &["is not one of YARN's REST API", "<html><body>Welcome"],
    );
    told(
        || Response::new(200, "", "{\"app\":{\"id\":"),
        &["is not one of YARN's REST API"],
    );
    told(
        || Response::new(200, "", "{\"app\":").truncated(),
        &["cannot be read"],
    );
    told(
        || Response::new(200, "", vec![b' '; 17 << 20]),
        &["cannot be read"],
    );
}

#[test]
fn a_resource_manager_that_does_not_answer_is_told() {
    let silent = Stub::serve(|_| None);
    list(&silent, &["-Dclient.timeout=1s"]).failed(&[PHRASE, "no answer to GET http://127.0.0.1:"]);
    let address = "127.0.0.1:1";
    let option = format!("-Dyarn.resourcemanager.webapp.address={address}");
    millpond(&["list", "-yid", ID, &option, "-Drest.retry.max-attempts=1"]).failed(&[
        PHRASE,
        "yarn.resourcemanager.webapp.address names",
        &format!("no answer to GET http://{address}/ws/v1/cluster/info"),
    ]);
}

#[test]
fn running_applications_are_told_if_none_was_named() {
    let stub = Stub::serve(|request| {
        Some(match request.path.as_str() {
            "/ws/v1/cluster/info" => active(),
            "/ws/v1/cluster/apps" => {
                assert_eq!(request.query["states"], "RUNNING");
                assert_eq!(request.query["user"], "alice");
                let app = application(&[])["app"].clone();
                Response::json(200, &json!({"apps": {"app": [app]}}))
            }
            _ => not_found(),
        })
    });
    let address = address_option(&stub);
    let line = format!("{ID} runs: \"words\", of the type yarn-service");
    millpond(&["list", "-m", "yarn-cluster", &address]).failed(&[
        "No application of YARN was named. Specify one by -yid",
        &line,
    ]);
    millpond(&[
        "run",
        "-t",
        "yarn-session",
        &address,
        env!("CARGO_BIN_EXE_millpond"),
    ])
    .failed(&["No application of YARN was named", &line]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    millpond(&["list", "-m", "127.0.0.1:1", "-yid", ID]).refused(&format!(
        "The options -m 127.0.0.1:1 and -yid {ID} name two clusters. Leave out one of them."
    ));
    millpond(&["list", "-yid", "job_1"]).refused(
        "\"job_1\" is no id of an application of YARN, expected one like application_1503963985568_0002; \
         `yarn app -list` shows them",
    );
    millpond(&["list", "-t", "mesos"]).refused(
        "Millpond has no target \"mesos\" (execution.target). Expected one of: [remote, local, yarn-application, \
         yarn-per-job, yarn-session]",
    );
    millpond(&["run", "-m", "yarn-cluster", "-yat", "Flink", "/nowhere"]).refused(
        "The type of the application cannot be \"Flink\": clusters of Millpond are services of YARN, and \
         their type is yarn-service. Leave out -yat.",
    );
    millpond(&["run", "-m", "yarn-cluster", "/nowhere"])
        .refused("Program does not exist: /nowhere");
}
