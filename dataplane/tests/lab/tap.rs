//! `tap` ports: an unprivileged Flumen behind an interface that root made for it.

use super::harness::{BINARY, Lab, Role, wait_until};

pub fn a_tap_serves_the_host_without_any_privilege() {
    let lab = Lab::up();
    let open = lab.folder().join("open");
    std::fs::create_dir(&open).unwrap();
    let (binary, config, socket) = (open.join("flumen"), open.join("tap.toml"), open.join("control.sock"));
    std::fs::copy(BINARY, &binary).unwrap();
    let toml = format!(
        "[[port]]\nname = \"tap0\"\nkind = \"tap\"\naddresses = [\"10.0.9.1/24\", \"fd00:9::1/64\"]\n\
         [[core]]\ncpu = 0\nports = [\"tap0\"]\n\
         [[service]]\nkind = \"http\"\nlisten = [\"10.0.9.1:80\", \"[fd00:9::1]:80\"]\n\
         responses = [{{ path = \"/1m\", bytes = 1000000 }}]\n\
         [limits]\nroutes_ipv4 = 1000\nroutes_ipv6 = 1000\n\
         [control]\nsocket = {socket:?}\n"
    );
    std::fs::write(&config, toml).unwrap();
    lab.client(&format!("chmod -R 0777 {}", open.display())).must();
    lab.client("ip tuntap add dev tap0 mode tap user 65534").must();
    lab.client("ip addr add 10.0.9.2/24 dev tap0").must();
    lab.client("ip addr add fd00:9::2/64 dev tap0 nodad").must();
    lab.client("ip link set tap0 up").must();
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all";
    // Everybody may open the kernel's device, as where udev is; here for this process alone, which sees mounts of its own.
    let (dev, command) = (lab.folder().join("dev"), format!("{nobody} {} run {}", binary.display(), config.display()));
    let dev = dev.display();
    let start = lab.file(
        "start",
        format!(
            "set -e\nmkdir {dev}\nmount -t tmpfs none {dev}\nmknod -m 0666 {dev}/tun c 10 200\n\
             mount --bind {dev}/tun /dev/net/tun\nexec {command}\n"
        ),
    );
    let _flumen = lab.background(Role::Client, &format!("unshare --mount sh {start}"));
    wait_until("the host reaches Flumen", 20, || lab.client("ping -n -c 1 -W 1 10.0.9.1").ok);
    lab.client("ping -n -c 20 -i 0.01 -W 2 -s 4000 10.0.9.1").says("20 received");
    lab.client("ping -n -c 20 -i 0.01 -W 2 -s 4000 fd00:9::1").says("20 received");
    for url in ["http://10.0.9.1/1m", "http://[fd00:9::1]/1m"] {
        lab.client(&format!("curl -s -g -m 20 -o /dev/null -w %{{size_download}} {url}")).says("1000000");
    }
    let show = lab.client(&format!("{} show --socket {} port", binary.display(), socket.display()));
    show.says("tap0");
}
