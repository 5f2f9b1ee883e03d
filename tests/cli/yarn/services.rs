//! A ResourceManager with YARN's service framework that starts the processes of a service on this
//! machine: what an application master and NodeManagers do.
//!
//! Each question about an application takes it a step further: ACCEPTED, then RUNNING with the job
//! manager, then with the task managers that depend on it; at last FINISHED, by the exit code of the job
//! manager. Sources: Apache Hadoop 3.4.1, "YARN Service API", "YARN Service Configurations"; the launch
//! script as its class `ContainerLaunch` writes it.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::stub::{Request, Response, Stub};
use super::{ID, active, not_found};

/// One cluster of YARN, which runs at most one service.
pub(super) struct Yarn {
    stub: Stub,
    framework: Arc<Mutex<Framework>>,
}

struct Framework {
    directory: tempfile::TempDir,
    spec: Option<Value>,
    phase: Phase,
    job_manager: Option<Container>,
    task_managers: Vec<Container>,
    final_status: &'static str,
    destroyed: bool,
    /// Whether it accepts services, and goes on.
    takes_services: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Accepted,
    Running,
    Finished,
}

struct Container {
    child: Child,
    directory: PathBuf,
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Yarn {
    pub(super) fn start() -> Self {
        Yarn::new(true)
    }

    /// One whose ResourceManager has no API for services.
    pub(super) fn without_services() -> Self {
        Yarn::new(false)
    }

    fn new(takes_services: bool) -> Self {
        let framework = Arc::new(Mutex::new(Framework {
            directory: tempfile::tempdir().expect("room"),
            spec: None,
            phase: Phase::Accepted,
            job_manager: None,
            task_managers: Vec::new(),
            final_status: "UNDEFINED",
            destroyed: false,
            takes_services,
        }));
        let inner = Arc::clone(&framework);
        let answer = move |request: &Request| Some(inner.lock().expect("whole").answer(request));
        let stub = Stub::serve(answer);
        Yarn { stub, framework }
    }

    /// Starts a service by its descriptor, as `yarn app -launch` does.
    pub(super) fn launch(&self, descriptor: &str) {
        self.framework.lock().expect("whole").create(descriptor);
    }

    /// The option that names it.
    pub(super) fn option(&self) -> String {
        super::address_option(&self.stub)
    }

    /// The service as it was asked for.
    pub(super) fn spec(&self) -> Value {
        let framework = self.framework.lock().expect("whole");
        framework.spec.clone().expect("a service was asked for")
    }

    pub(super) fn final_status(&self) -> &'static str {
        self.framework.lock().expect("whole").final_status
    }

    pub(super) fn is_destroyed(&self) -> bool {
        self.framework.lock().expect("whole").destroyed
    }

    /// What the job manager and the task managers have said.
    pub(super) fn logs(&self) -> String {
        let framework = self.framework.lock().expect("whole");
        let containers = framework.job_manager.iter().chain(&framework.task_managers);
        containers
            .map(|container| {
                let read = |name| std::fs::read_to_string(container.directory.join(name));
                let out = read("stdout.txt").unwrap_or_default();
                format!("{out}{}", read("stderr.txt").unwrap_or_default())
            })
            .collect()
    }
}

impl Drop for Yarn {
    fn drop(&mut self) {
        // Containers end with the test; the thread of the server stays.
        if let Ok(mut framework) = self.framework.lock() {
            framework.task_managers.clear();
            framework.job_manager = None;
        }
    }
}

impl Framework {
    fn answer(&mut self, request: &Request) -> Response {
        let name = self.spec.as_ref().map(|spec| text(&spec["name"]));
        let service = name.map(|name| format!("/app/v1/services/{name}"));
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/ws/v1/cluster/info") => active(),
            ("GET", path) if self.spec.is_some() && path.ends_with(ID) => self.application(),
            ("POST", "/app/v1/services") if self.takes_services => self.create(&request.body),
            ("GET", path) if service.as_deref() == Some(path) => {
                Response::json(200, &self.described())
            }
            ("DELETE", path) if service.as_deref() == Some(path) => {
                self.finish("KILLED");
                self.destroyed = true;
                let told = "Successfully destroyed service";
                Response::json(200, &json!({ "diagnostics": told }))
            }
            _ => not_found(),
        }
    }

    fn create(&mut self, body: &str) -> Response {
        let spec: Value = serde_json::from_str(body).expect("JSON");
        if self.spec.is_some() {
            let told = format!("Service name {} is already taken.", spec["name"]);
            return Response::json(500, &json!({ "diagnostics": told }));
        }
        self.spec = Some(spec);
        let told = format!("Application ID: {ID}");
        Response::json(
            202,
            &json!({"diagnostics": told, "state": "ACCEPTED", "uri": "/v1/services/x"}),
        )
    }

    fn application(&mut self) -> Response {
        let (state, status) = match self.phase {
            Phase::Accepted => ("ACCEPTED", "UNDEFINED"),
            Phase::Running => ("RUNNING", "UNDEFINED"),
            Phase::Finished => ("FINISHED", self.final_status),
        };
        let spec = self.spec.as_ref().expect("there is one");
        let app = super::application(&[
            ("name", spec["name"].clone()),
            ("state", json!(state)),
            ("finalStatus", json!(status)),
            ("diagnostics", json!("jobmanager-0 has ended")),
            ("amRPCAddress", json!("host100.cloud.com:40001")),
        ]);
        self.step();
        Response::json(200, &app)
    }

    /// A step further.
    fn step(&mut self) {
        match self.phase {
            Phase::Accepted => {
                self.job_manager = Some(self.launch("jobmanager"));
                self.phase = Phase::Running;
            }
            Phase::Running => {
                let manager = self.job_manager.as_mut().expect("it was started");
                match manager.child.try_wait().expect("it is ours") {
                    Some(status) if status.success() => self.finish("SUCCEEDED"),
                    Some(_) => self.finish("FAILED"),
                    None if self.task_managers.is_empty() && self.is_ready() => {
                        let containers =
                            self.component("taskmanager")["number_of_containers"].as_u64();
                        for _ in 0..containers.expect("a number") {
                            let container = self.launch("taskmanager");
                            self.task_managers.push(container);
                        }
                    }
                    None => {}
                }
            }
            Phase::Finished => {}
        }
    }

    fn finish(&mut self, status: &'static str) {
        if self.phase != Phase::Finished {
            self.phase = Phase::Finished;
            self.final_status = status;
        }
        for container in self.task_managers.iter_mut().chain(&mut self.job_manager) {
            // It may have ended already.
            let _ = container.child.kill();
        }
    }

    fn component(&self, name: &str) -> &Value {
        let components = self
            .spec
            .as_ref()
            .and_then(|spec| spec["components"].as_array());
        let mut components = components.expect("components").iter();
        components
            .find(|component| component["name"] == name)
            .expect("the component")
    }

    /// The readiness check of the type PORT.
    fn is_ready(&self) -> bool {
        let check = &self.component("jobmanager")["readiness_check"];
        assert_eq!(check["type"], "PORT");
        let port = text(&check["properties"]["port"]).parse().expect("a port");
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    }

    /// The answer to a question about the service.
    fn described(&self) -> Value {
        let mut service = self.spec.clone().expect("there is one");
        service["id"] = json!(ID);
        service["state"] = json!("STABLE");
        if self.phase == Phase::Running {
            let state = if self.is_ready() { "READY" } else { "STARTED" };
            let components = service["components"].as_array_mut().expect("components");
            let named = components
                .iter_mut()
                .find(|one| one["name"] == "jobmanager");
            named.expect("the component")["containers"] = json!([{"state": state, "ip": "127.0.0.1",
                "bare_host": "127.0.0.1", "component_instance_name": "jobmanager-0"}]);
        }
        service
    }

    /// Starts a container, as a NodeManager does for an application master.
    fn launch(&self, name: &str) -> Container {
        let component = self.component(name);
        let number = self.task_managers.len();
        let directory = self.directory.path().join(format!("{name}-{number}"));
        let conf = directory.join("conf");
        std::fs::create_dir_all(&conf).expect("room");
        for file in component["configuration"]["files"]
            .as_array()
            .expect("files")
        {
            let properties = &file["properties"];
            let content = match text(&file["type"]) {
                // What the framework writes of them is YAML, and so is JSON.
                "YAML" => properties.to_string(),
                "TEMPLATE" => text(&properties["content"]).to_owned(),
                "STATIC" => {
                    // The only file of this cluster.
                    if file["src_file"] == "hdfs:///apps/millpond/millpond" {
                        let resources = directory.join("resources");
                        std::fs::create_dir_all(&resources).expect("room");
                        let link = resources.join(text(&file["dest_file"]));
                        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_millpond"), link)
                            .expect("room");
                    }
                    continue;
                }
                other => panic!("a file of the type {other}"),
            };
            let content = content.replace("${JOBMANAGER-0_IP}", "127.0.0.1");
            std::fs::write(conf.join(text(&file["dest_file"])), content).expect("room");
        }
        let command = text(&component["launch_command"]);
        let script = format!("exec /bin/bash -c \"{command}\"\n");
        let file = |name: &str| std::fs::File::create(directory.join(name)).expect("room");
        let binaries = Path::new(env!("CARGO_BIN_EXE_millpond"))
            .parent()
            .expect("a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        let env = component["configuration"]["env"]
            .as_object()
            .expect("a map");
        let env: BTreeMap<_, _> = env.iter().map(|(key, value)| (key, text(value))).collect();
        let child = Command::new("/bin/bash")
            .args(["-c", &script])
            .current_dir(&directory)
            .env_remove("MILLPOND_CONFIGURATION")
            .env("PATH", format!("{}:{path}", binaries.display()))
            .env("NM_HOST", "127.0.0.1")
            .env("LOCAL_DIRS", &directory)
            .envs(env)
            .stdin(Stdio::null())
            .stdout(file("stdout.txt"))
            .stderr(file("stderr.txt"))
            .spawn()
            .expect("a shell");
        Container { child, directory }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}
