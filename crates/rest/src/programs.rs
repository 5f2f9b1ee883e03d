//! Endpoints for programs that can be run: executables, in the place of Flink's jars.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Query, RawPathParams, Request, State};
use axum::http::StatusCode;
use millpond_job::dispatcher::DispatchError;
use millpond_job::programs::{Programs, RunRequest, Upload};
use millpond_types::JobId;
use millpond_types::config::options;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Empty, Refusal, ok};
use crate::api::Api;
use crate::request::{DISCARDED, JsonBody, discard};

/// The field of Flink's form.
const FIELD: &str = "jarfile";

/// What can be run here, or why nothing can.
fn programs(api: &Api) -> Result<Arc<dyn Programs>, Refusal> {
    api.programs.clone().ok_or_else(|| {
        Refusal::bad_request(
            "Millpond has no jars: a job is an executable. This one runs by itself; another one is \
             started by itself or with \"millpond run PROGRAM\", and uploaded only to a cluster \
             (\"millpond jobmanager\") with web.submit.enable.",
        )
    })
}

#[derive(Serialize)]
struct Files {
    address: String,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    id: String,
    name: String,
    uploaded: u64,
    entry: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    description: Option<String>,
}

/// GET `/jars`: what was uploaded, the newest first.
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Answer {
    let listed = api.programs.as_ref().map(|programs| programs.list());
    let files = listed.unwrap_or_default().into_iter().map(|program| File {
        entry: vec![Entry {
            // An executable has one way in.
            name: program.name.clone(),
            description: None,
        }],
        id: program.id,
        name: program.name,
        uploaded: program.uploaded_ms,
    });
    ok(&Files {
        address: format!("http://{}", api.local_addr),
        files: files.collect(),
    })
}

#[derive(Serialize)]
struct Uploaded {
    filename: String,
    status: &'static str,
}

/// POST `/jars/upload`: a form with the file in the field `jarfile`.
pub(crate) async fn upload(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let programs = match programs(&api) {
        Ok(programs) => programs,
        Err(refusal) => {
            discard(request.into_body()).await;
            return Err(refusal);
        }
    };
    let mut form = Multipart::from_request(request, &api)
        .await
        .map_err(|rejection| bad(rejection.body_text()))?;
    while let Some(mut field) = form
        .next_field()
        .await
        .map_err(|error| bad(error.body_text()))?
    {
        if field.name() != Some(FIELD) {
            continue;
        }
        let upload = match take(&*programs, &mut field).await {
            Ok(upload) => upload,
            Err(refusal) => {
                discard_rest(field).await;
                return Err(refusal);
            }
        };
        let filename = blocking(move || upload.finish()).await?;
        return ok(&Uploaded {
            filename,
            status: "success",
        });
    }
    Err(Refusal::bad_request(format!(
        "Exactly 1 file must be sent, in the field \"{FIELD}\"."
    )))
}

/// Keeps the program in a field, until it turns out that it must not be.
async fn take(programs: &dyn Programs, field: &mut Field<'_>) -> Result<Box<dyn Upload>, Refusal> {
    let name = field.file_name().unwrap_or_default().to_owned();
    let mut upload = programs.upload(&name)?;
    let limit = programs.max_bytes();
    let mut length = 0u64;
    while let Some(chunk) = field
        .chunk()
        .await
        .map_err(|error| bad(error.body_text()))?
    {
        length += chunk.len() as u64;
        if length > limit {
            return Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "HTTP 413 Request Entity Too Large: a program has at most {limit} bytes ({}).",
                    options::MAX_CONTENT_LENGTH.key()
                ),
            ));
        }
        upload.write_all(&chunk).map_err(|error| {
            let text = format!("Could not keep the program \"{name}\": {error}");
            Refusal::by_handler(StatusCode::INTERNAL_SERVER_ERROR, text)
        })?;
    }
    Ok(upload)
}

fn bad(error: String) -> Refusal {
    Refusal::bad_request(format!("Bad request, the form is none: {error}"))
}

/// As [`discard`] does with a body.
async fn discard_rest(mut field: Field<'_>) {
    let mut read = 0;
    while read < DISCARDED {
        match field.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// DELETE `/jars/:jarid`.
pub(crate) async fn delete(State(api): State<Arc<Api>>, path: RawPathParams) -> Answer {
    let (programs, id) = (programs(&api)?, id(&path));
    blocking(move || programs.delete(&id)).await?;
    ok(&Empty {})
}

/// The body of a run; what is missing may stand in the query.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RunBody {
    program_args: Option<String>,
    program_args_list: Option<Vec<String>>,
    parallelism: Option<u32>,
    job_id: Option<String>,
    allow_non_restored_state: Option<bool>,
    savepoint_path: Option<String>,
    claim_mode: Option<String>,
    restore_mode: Option<String>,
    flink_configuration: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Run {
    jobid: String,
}

/// POST `/jars/:jarid/run`: answers when the job is accepted.
pub(crate) async fn run(
    State(api): State<Arc<Api>>,
    path: RawPathParams,
    Query(query): Query<Vec<(String, String)>>,
    body: Request,
) -> Answer {
    let (programs, body) = read(&api, body).await?;
    let (id, request) = (id(&path), request(body, &query)?);
    let job: JobId = blocking(move || programs.run(&id, request)).await?;
    ok(&Run {
        jobid: job.to_string(),
    })
}

/// GET `/jars/:jarid/plan`.
pub(crate) async fn plan_by_query(
    State(api): State<Arc<Api>>,
    path: RawPathParams,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    show_plan(&api, &path, RunBody::default(), &query).await
}

/// POST `/jars/:jarid/plan`.
pub(crate) async fn plan(
    State(api): State<Arc<Api>>,
    path: RawPathParams,
    Query(query): Query<Vec<(String, String)>>,
    body: Request,
) -> Answer {
    let (_, body) = read(&api, body).await?;
    show_plan(&api, &path, body, &query).await
}

/// The body, if there is anything that it can be about.
async fn read(api: &Arc<Api>, request: Request) -> Result<(Arc<dyn Programs>, RunBody), Refusal> {
    match programs(api) {
        Ok(programs) => {
            let JsonBody(body) = JsonBody::from_request(request, api).await?;
            Ok((programs, body))
        }
        Err(refusal) => {
            discard(request.into_body()).await;
            Err(refusal)
        }
    }
}

async fn show_plan(
    api: &Api,
    path: &RawPathParams,
    body: RunBody,
    query: &[(String, String)],
) -> Answer {
    #[derive(Serialize)]
    struct Plan {
        plan: serde_json::Value,
    }
    let (programs, id) = (programs(api)?, id(path));
    let request = request(body, query)?;
    let plan = blocking(move || programs.plan(&id, request)).await?;
    let plan = serde_json::from_str(&plan).map_err(|error| {
        let text = format!("The program printed no plan: {error}");
        Refusal::by_handler(StatusCode::INTERNAL_SERVER_ERROR, text)
    })?;
    ok(&Plan { plan })
}

fn id(path: &RawPathParams) -> String {
    let found = path.iter().find(|(name, _)| *name == "jarid");
    found.map(|(_, id)| id.to_owned()).unwrap_or_default()
}

/// What a user wants run; the body is stronger than the query.
fn request(body: RunBody, query: &[(String, String)]) -> Result<RunRequest, Refusal> {
    let of_query = |key: &str| {
        let found = query.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.clone())
    };
    let mut configuration = body.flink_configuration;
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            configuration.insert(key.to_owned(), value);
        }
    };
    let parallelism = body.parallelism.map(|parallelism| parallelism.to_string());
    set(
        options::PARALLELISM.key(),
        parallelism.or_else(|| of_query("parallelism")),
    );
    let path = body.savepoint_path.or_else(|| of_query("savepointPath"));
    // Flink's web page sends an empty one.
    set(
        options::RECOVERY_PATH.key(),
        path.filter(|path| !path.is_empty()),
    );
    let allow = body.allow_non_restored_state.map(|allow| allow.to_string());
    set(
        options::IGNORE_UNCLAIMED_STATE.key(),
        allow.or_else(|| of_query("allowNonRestoredState")),
    );
    set(
        options::CLAIM_MODE.key(),
        body.claim_mode.or(body.restore_mode),
    );
    let listed = body.program_args_list.or_else(|| {
        let named: Vec<String> = query
            .iter()
            .filter(|(name, _)| name == "programArg")
            .flat_map(|(_, value)| value.split(',').map(str::to_owned))
            .collect();
        (!named.is_empty()).then_some(named)
    });
    let text = body.program_args.or_else(|| of_query("program-args"));
    let arguments = listed.unwrap_or_else(|| words(text.as_deref().unwrap_or_default()));
    let job = body
        .job_id
        .map(|text| {
            text.parse().map_err(|error| {
                Refusal::bad_request(format!("Request did not match expected format: {error}"))
            })
        })
        .transpose()?;
    Ok(RunRequest {
        arguments,
        job,
        configuration,
    })
}

/// Words between blanks; what stands between quotes is one, as in Flink's `JarHandlerUtils`.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Does what takes time on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DispatchError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Refusal::from),
        Err(error) => Err(Refusal::by_handler(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_between_blanks_and_quotes_keep_them_together() {
        assert_eq!(words(" --keys  10 "), ["--keys", "10"]);
        assert_eq!(
            words("--name \"a b\" '' c'd e'"),
            ["--name", "a b", "", "cd e"]
        );
        assert!(words("").is_empty());
    }

    #[test]
    fn the_body_is_stronger_than_the_query() {
        let query = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            owned.collect()
        };
        let body: RunBody = serde_json::from_value(serde_json::json!({
            "parallelism": 3, "savepointPath": "/s", "claimMode": "CLAIM", "programArgsList": ["a b"],
            "jobId": "00112233445566778899aabbccddeeff", "flinkConfiguration": {"k": "v"},
        }))
        .expect("a body");
        let pairs = query(&[("parallelism", "2"), ("programArg", "x,y")]);
        let request = request(body, &pairs).expect("fine");
        assert_eq!(request.arguments, ["a b"]);
        assert_eq!(request.configuration["parallelism.default"], "3");
        assert_eq!(request.configuration["execution.state-recovery.path"], "/s");
        assert_eq!(request.configuration["k"], "v");
        assert!(request.job.is_some());
        let request = super::request(RunBody::default(), &pairs).expect("fine");
        assert_eq!(request.arguments, ["x", "y"]);
        assert_eq!(request.configuration["parallelism.default"], "2");
        let wrong = RunBody {
            job_id: Some("none".to_owned()),
            ..RunBody::default()
        };
        assert!(super::request(wrong, &[]).is_err());
    }
}
