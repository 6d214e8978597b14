//! Unmodified programs on Flumen's sockets: web servers, proxies and what measures them.

use super::harness::{Ends, Host, Lab, Program, Role, noise, over_each_family, wait_until};

/// nginx with these lines in its server block; two workers in front of the lab's folder.
fn nginx_config(lab: &Lab, address: Host, http: &str, server: &str) -> String {
    let folder = lab.folder().display().to_string();
    lab.file(
        "nginx.conf",
        format!(
            "user root;\nworker_processes 2;\ndaemon off;\npid {folder}/nginx.pid;\nerror_log stderr notice;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n access_log off;\n{http}\n\
             client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;\n\
             uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n\
             server {{\n listen {address:#}:8080;\n root {folder};\n location /small {{ return 200 \"small\\n\"; }}\n{server}\n }}\n}}\n"
        ),
    )
}

fn nginx(lab: &Lab, here: Host, http: &str, server: &str) -> Program {
    let config = nginx_config(lab, here, http, server);
    let program = lab.start_on_flumen(&format!("nginx -e stderr -c {config}"));
    lab.wait_for_port(Role::Client, here, 8080);
    program
}

#[track_caller]
fn fetch(lab: &Lab, url: &str, wanted: &[u8], options: &str) {
    let fetched = lab.folder().join("fetched");
    lab.client(&format!("curl -sS -m 30 {options} -o {} {url}", fetched.display())).must();
    assert!(std::fs::read(&fetched).expect("it was fetched") == wanted, "other bytes than were served");
}

#[track_caller]
fn no_error(said: &str) {
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    assert!(said.contains("requests in"), "{said}");
}

fn nginx_serves(http: &str) {
    over_each_family(|lab, Ends { here, .. }| {
        let bytes = noise(1, 16 << 20);
        lab.file("served", &bytes);
        let _nginx = nginx(lab, here, http, "");
        fetch(lab, &format!("http://{here:#}:8080/served"), &bytes, "");
        no_error(&lab.client(&format!("wrk -t 1 -c 50 -d 1s http://{here:#}:8080/small")).must());
        let said = lab.client(&format!("ab -q -n 1000 -c 20 http://{here:#}:8080/small")).must();
        assert!(said.contains("Complete requests:      1000") && said.contains("Failed requests:        0"), "{said}");
    });
}

pub fn nginx_serves_with_sendfile() {
    nginx_serves("sendfile on; tcp_nopush on;");
}

pub fn nginx_serves_without_sendfile() {
    nginx_serves("sendfile off;");
}

/// As Debian configures it: the master is root, and its workers give that up when they have their sockets.
pub fn nginx_with_workers_of_another_user_serves_a_low_port() {
    over_each_family(|lab, Ends { here, .. }| {
        let bytes = noise(4, 4 << 20);
        lab.file("served", &bytes);
        let config = nginx_config(lab, here, "", "");
        let text = std::fs::read_to_string(&config).expect("it was written");
        lab.file("nginx.conf", text.replace("user root;", "user www-data;").replace(":8080", ":80"));
        let nginx = lab.start_on_flumen(&format!("nginx -e stderr -c {config}"));
        lab.wait_for_port(Role::Client, here, 80);
        let workers = lab.router(&format!("pgrep -c -u www-data -P {}", nginx.pid())).must();
        assert_eq!(workers.trim(), "2");
        fetch(lab, &format!("http://{here:#}/served"), &bytes, "");
        no_error(&lab.client(&format!("wrk -t 1 -c 20 -d 1s http://{here:#}/small")).must());
    });
}

pub fn nginx_reloads_under_load() {
    over_each_family(|lab, Ends { here, .. }| {
        let nginx = nginx(lab, here, "", "location /which { return 200 \"first\\n\"; }");
        lab.client(&format!("curl -sS -m 5 http://{here:#}:8080/which")).says("first");
        let load = format!("wrk -t 1 -c 20 -d 4s http://{here:#}:8080/small");
        let said = std::thread::scope(|scope| {
            let load = scope.spawn(|| lab.client(&load).must());
            for word in ["second", "third"] {
                std::thread::sleep(std::time::Duration::from_millis(700));
                nginx_config(lab, here, "", &format!("location /which {{ return 200 \"{word}\\n\"; }}"));
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(nginx.pid() as i32), nix::sys::signal::SIGHUP)
                    .expect("nginx runs");
                wait_until("the new configuration answers", 10, || {
                    lab.client(&format!("curl -sS -m 5 http://{here:#}:8080/which")).text.contains(word)
                });
            }
            load.join().expect("wrk ends")
        });
        // A connection that idles while its worker retires is closed, as on the kernel's sockets; none that has a request is.
        assert!(said.contains("requests in") && !said.contains("Non-2xx"), "{said}");
        // wrk's line of errors, which is there when there were any: connect 0, read 3, write 0, timeout 0.
        let count = |what: &str| -> u32 {
            let (_, rest) = said.split_once(&format!("{what} ")).unwrap_or_default();
            rest.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        let errors = said.find("Socket errors").map_or([0; 3], |_| ["connect", "write", "timeout"].map(count));
        assert_eq!(errors, [0; 3], "{said}");
    });
}

/// A server block's lines for TLS at an address, with a certificate of its own: `certificate` in the lab's folder.
fn tls(lab: &Lab, address: Host) -> String {
    let folder = lab.folder().display().to_string();
    lab.client(&format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout {folder}/key -out {folder}/certificate \
         -addext subjectAltName=IP:{address}"
    ))
    .must();
    format!("listen {address:#}:8443 ssl http2; ssl_certificate {folder}/certificate; ssl_certificate_key {folder}/key;")
}

pub fn nginx_speaks_tls() {
    over_each_family(|lab, Ends { here, .. }| {
        let folder = lab.folder().display().to_string();
        let bytes = noise(2, 8 << 20);
        lab.file("served", &bytes);
        let _nginx = nginx(lab, here, "", &tls(lab, here));
        fetch(lab, &format!("https://{here:#}:8443/served"), &bytes, &format!("--cacert {folder}/certificate"));
    });
}

pub fn curl_wget_and_openssl_are_clients_over_tls() {
    over_each_family(|lab, Ends { there, .. }| {
        let folder = lab.folder().display().to_string();
        let bytes = noise(5, 8 << 20);
        lab.file("served", &bytes);
        let config = nginx_config(lab, there, "", &tls(lab, there));
        let _nginx = lab.start_on_kernel(Role::Client, &format!("nginx -e stderr -c {config}"));
        lab.wait_for_port(Role::Client, there, 8443);
        let url = format!("https://{there:#}:8443/served");
        for client in [
            format!("curl -sS -m 30 --http2 --cacert {folder}/certificate -o {folder}/fetched {url}"),
            format!("curl -sS -m 30 --http1.1 --cacert {folder}/certificate -o {folder}/fetched {url}"),
            format!("wget -q -T 30 --ca-certificate={folder}/certificate -O {folder}/fetched {url}"),
        ] {
            lab.run_on_flumen(&client).must();
            let fetched = std::fs::read(lab.folder().join("fetched")).expect("it was fetched");
            assert!(fetched == bytes, "`{client}` fetches other bytes than were served");
            std::fs::remove_file(lab.folder().join("fetched")).expect("it was read");
        }
        // Whom they do not know they refuse: so the checks above were made.
        assert!(!lab.run_on_flumen(&format!("curl -sS -m 30 -o /dev/null {url}")).ok);
        let openssl = format!("openssl s_client -connect {there:#}:8443 -CAfile {folder}/certificate -verify_return_error");
        lab.run_on_flumen(&openssl).says("Verify return code: 0 (ok)");
    });
}

/// nginx in front of another server: it is a server and a client in one set.
pub fn nginx_stands_between_clients_and_servers() {
    over_each_family(|lab, Ends { here, far, .. }| {
        let bytes = noise(6, 4 << 20);
        lab.file("served", &bytes);
        let folder = lab.folder().display().to_string();
        let _server = lab.start_on_kernel(Role::Server, &format!("python3 -m http.server -b {far} -d {folder} 8000"));
        lab.wait_for_port(Role::Server, far, 8000);
        let _nginx = nginx(lab, here, "", &format!("location /behind/ {{ proxy_pass http://{far:#}:8000/; }}"));
        fetch(lab, &format!("http://{here:#}:8080/behind/served"), &bytes, "");
        let said = lab.client(&format!("ab -q -n 200 -c 5 http://{here:#}:8080/behind/nginx.conf")).must();
        assert!(said.contains("Complete requests:      200") && said.contains("Failed requests:        0"), "{said}");
    });
}

pub fn haproxy_stands_between_clients_and_servers() {
    over_each_family(|lab, Ends { here, far, .. }| {
        let bytes = noise(3, 4 << 20);
        lab.file("served", &bytes);
        let folder = lab.folder().display().to_string();
        let _server = lab.start_on_kernel(Role::Server, &format!("python3 -m http.server -b {far} -d {folder} 8000"));
        lab.wait_for_port(Role::Server, far, 8000);
        let config = lab.file(
            "haproxy.cfg",
            format!(
                "global\n maxconn 256\ndefaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n\
                 frontend in\n bind {here:#}:8080\n default_backend out\nbackend out\n server one {far:#}:8000 check\n"
            ),
        );
        let _haproxy = lab.start_on_flumen(&format!("haproxy -db -f {config}"));
        lab.wait_for_port(Role::Client, here, 8080);
        fetch(lab, &format!("http://{here:#}:8080/served"), &bytes, "--retry 5 --retry-all-errors");
        let said = lab.client(&format!("ab -q -n 200 -c 5 http://{here:#}:8080/haproxy.cfg")).must();
        assert!(said.contains("Complete requests:      200") && said.contains("Failed requests:        0"), "{said}");
    });
}

pub fn wrk_and_ab_are_clients() {
    over_each_family(|lab, Ends { there, .. }| {
        let config = nginx_config(lab, there, "", "");
        let _nginx = lab.start_on_kernel(Role::Client, &format!("nginx -e stderr -c {config}"));
        lab.wait_for_port(Role::Client, there, 8080);
        no_error(&lab.run_on_flumen(&format!("wrk -t 1 -c 50 -d 1s http://{there:#}:8080/small")).must());
        let said = lab.run_on_flumen(&format!("ab -q -n 1000 -c 20 http://{there:#}:8080/small")).must();
        assert!(said.contains("Complete requests:      1000") && said.contains("Failed requests:        0"), "{said}");
    });
}
