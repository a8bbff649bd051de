using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .workers),
    # The command line says where: --directory-path storage=DIR
    (name = "storage", disk = (writable = true)),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);

const workers :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [
    (className = "Ping", uniqueKey = "ping", enableSql = true),
    (className = "Counter", uniqueKey = "counter", enableSql = true),
    (className = "Alarm", uniqueKey = "alarm", enableSql = true),
    (className = "Tally", uniqueKey = "tally", enableSql = true),
    (className = "Room", uniqueKey = "room", enableSql = true),
    (className = "Values", uniqueKey = "values", enableSql = true),
    (className = "Rows", uniqueKey = "rows", enableSql = true),
    (className = "Echo", uniqueKey = "echo", enableSql = true),
    (className = "Lobby", uniqueKey = "lobby", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "storage"),
  bindings = [
    (name = "PING", durableObjectNamespace = "Ping"),
    (name = "COUNTER", durableObjectNamespace = "Counter"),
    (name = "ALARM", durableObjectNamespace = "Alarm"),
    (name = "TALLY", durableObjectNamespace = "Tally"),
    (name = "ROOM", durableObjectNamespace = "Room"),
    (name = "VALUES", durableObjectNamespace = "Values"),
    (name = "ROWS", durableObjectNamespace = "Rows"),
    (name = "ECHO", durableObjectNamespace = "Echo"),
    (name = "LOBBY", durableObjectNamespace = "Lobby"),
  ],
);
