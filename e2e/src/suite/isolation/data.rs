//! Secrets and databases: what a class can name, and what the credentials of a database are good for.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::class::Class;
use crate::cluster::{Cluster, SYSTEM};
use crate::release::sql;
use crate::team::Team;
use crate::test::Test;
use crate::workers::{note, notes};

/// What our Secret has.
const SECRET: &str = "of-our-team-alone";

/// Says what it has of its environment.
const TELLER: &str =
    "export default { fetch: (_, env) => Response.json({ told: env.TOLD ?? null }) };";

/// A class that takes a variable from a Secret.
fn teller(secret: &str) -> Value {
    let from = json!({ "secretKeyRef": { "name": secret, "key": "told", "optional": true } });
    json!({
        "code": { "inline": { "server.js": TELLER } },
        "env": [{ "name": "TOLD", "valueFrom": from }],
    })
}

/// What a class of the teller says.
async fn told(class: &Class) -> Value {
    class.ready().await;
    class.site().get("/").await.json()["told"].clone()
}

/// Whatever a class names is of its own namespace, and there are no names for what is elsewhere.
pub async fn a_class_reads_its_own_namespace(test: Arc<Test>) {
    let tenant = test.tenant("b").await;
    let team = Team::of(&tenant).await;
    let data = json!({ "stringData": { "told": SECRET }, "immutable": true });
    test.apply("v1", "Secret", "ours", data).await;
    let ours = test.class("teller", teller("ours")).await;
    assert_eq!(told(&ours).await, SECRET);

    let theirs = tenant.class("teller", teller("ours")).await;
    assert_eq!(told(&theirs).await, Value::Null);
    let namespace = &test.namespace;
    for name in [
        format!("{namespace}/ours"),
        format!("../{namespace}/ours"),
        format!("ours.{namespace}/"),
        "*".to_owned(),
    ] {
        let spec = teller(&name);
        refused(&team, "secretKeyRef", &spec).await;
        for field in ["configMap", "oci"] {
            let mut spec = teller("ours");
            spec["code"] = match field {
                "configMap" => json!({ "configMap": { "name": name } }),
                _ => json!({ "oci": { "image": "localhost/x:1", "pullSecret": { "name": name } } }),
            };
            refused(&team, field, &spec).await;
        }
        let mut spec = teller("ours");
        spec["storage"] = json!({ "database": { "secretKeyRef": { "name": name } } });
        refused(&team, "database", &spec).await;
    }
    // Fields that Kubernetes does not know are no way either.
    let mut spec = teller("ours");
    spec["env"][0]["valueFrom"]["secretKeyRef"]["namespace"] = json!(namespace);
    refused(&team, "namespace", &spec).await;

    let mut spec = teller("ours");
    spec["pod"] =
        json!({ "volumes": [{ "name": "node", "hostPath": { "path": "/var/lib/kubelet/pods" } }] });
    let stalled = tenant.class("node", spec).await.failed().await;
    let said = stalled["status"]["conditions"].to_string();
    assert!(said.contains("hostPath is no volume"), "{said}");
    assert_eq!(told(&theirs).await, Value::Null);
}

/// Fails unless the API server refuses a class, strictly read.
async fn refused(team: &Team, what: &str, spec: &Value) {
    let class = json!({
        "apiVersion": "portside.dev/v1alpha1", "kind": "ServerlessWorkerClass",
        "metadata": { "name": "asked", "namespace": team.test.namespace }, "spec": spec,
    });
    let answer = team.create("", &class).await;
    assert!(answer.is_err(), "{what} was taken: {spec}");
}

/// A role with a database of its own, which only it may connect to.
struct Login {
    name: &'static str,
    password: &'static str,
}

const OURS: Login = Login {
    name: "team_a",
    password: "for-team-a",
};
const THEIRS: Login = Login {
    name: "team_b",
    password: "for-team-b",
};

impl Login {
    /// Makes both, and gives their URL to a namespace.
    async fn begin(&self, test: &Test) {
        self.end(&test.cluster).await;
        let Self { name, password } = self;
        for statement in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE {name} OWNER {name}"),
            format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"),
        ] {
            sql(&test.cluster, &statement).await;
        }
        let url =
            format!("postgres://{name}:{password}@portside-postgres.{SYSTEM}.svc:5432/{name}");
        let data = json!({ "stringData": { "url": url } });
        test.apply("v1", "Secret", "portside-database", data).await;
    }

    async fn end(&self, cluster: &Cluster) {
        let name = self.name;
        sql(
            cluster,
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        )
        .await;
        sql(cluster, &format!("DROP ROLE IF EXISTS {name}")).await;
    }

    /// What a statement gives in some database, as this role.
    async fn query(
        &self,
        cluster: &Cluster,
        database: &str,
        statement: &str,
    ) -> Result<String, String> {
        let Self { name, password } = self;
        // Over TCP, where the password is asked for.
        let address = "$(/bin/busybox hostname -i)";
        let psql = format!(
            "PGPASSWORD={password} psql -h {address} -U {name} -d {database} -At -c \"{statement}\""
        );
        let exec = ["-n", SYSTEM, "exec", "deployment/portside-postgres", "--"];
        let exec = [&exec[..], &["sh", "-c", &psql]].concat();
        let said = cluster.try_kubectl(&exec).await;
        said.map(|it| it.trim().to_owned())
    }
}

/// With a role and a database for each team, one's credentials are of no use with the other's state.
pub async fn a_database_is_one_teams(test: Arc<Test>) {
    let (cluster, tenant) = (&test.cluster, test.tenant("b").await);
    OURS.begin(&test).await;
    THEIRS.begin(&tenant).await;
    let class = test.class("notes", notes(1)).await;
    let other = tenant.class("notes", notes(1)).await;
    class.ready().await;
    other.ready().await;
    note(&class, "ann", "ours").await;
    note(&other, "ann", "theirs").await;

    let count = "SELECT count(*) FROM portside.kv";
    assert_eq!(OURS.query(cluster, OURS.name, count).await, Ok("1".into()));
    assert_eq!(
        THEIRS.query(cluster, THEIRS.name, count).await,
        Ok("1".into())
    );
    let wrong = Login {
        password: "guessed",
        ..OURS
    };
    for (login, database, statement, complaint) in [
        (&wrong, OURS.name, count, "password authentication failed"),
        (&THEIRS, OURS.name, count, "permission denied for database"),
        // The one that the tests share lets everybody connect, as Postgres does by default.
        (&THEIRS, "portside", count, "permission denied for schema"),
        (&THEIRS, THEIRS.name, "SET ROLE team_a", "permission denied"),
        (
            &THEIRS,
            THEIRS.name,
            "ALTER ROLE team_a PASSWORD 'x'",
            "permission denied",
        ),
        (
            &THEIRS,
            THEIRS.name,
            "SELECT rolpassword FROM pg_authid",
            "permission denied",
        ),
        (
            &THEIRS,
            THEIRS.name,
            "SELECT pg_read_file('/etc/portside/password')",
            "permission denied",
        ),
        (
            &THEIRS,
            THEIRS.name,
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "pg_execute_server_program",
        ),
        (
            &THEIRS,
            THEIRS.name,
            "DROP DATABASE team_a",
            "must be owner",
        ),
        (&THEIRS, THEIRS.name, "CREATE EXTENSION dblink", "dblink"),
        (
            &THEIRS,
            THEIRS.name,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'team_a'",
            "terminate",
        ),
    ] {
        let said = login.query(cluster, database, statement).await;
        let said = said.expect_err(statement);
        assert!(said.contains(complaint), "{statement}: {said}");
    }
    // What the other one asks is not shown.
    let activity = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'team_a' AND query NOT LIKE '<insufficient%'";
    assert_eq!(
        THEIRS.query(cluster, THEIRS.name, activity).await,
        Ok("0".into())
    );
    // Where both could connect, the schema is still its owner's.
    sql(cluster, "GRANT CONNECT ON DATABASE team_a TO PUBLIC").await;
    let said = THEIRS.query(cluster, OURS.name, count).await.unwrap_err();
    assert!(said.contains("permission denied for schema"), "{said}");

    class.delete().await;
    other.delete().await;
    OURS.end(cluster).await;
    THEIRS.end(cluster).await;
}
