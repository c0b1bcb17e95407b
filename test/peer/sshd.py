"""A real sshd without any rights: for one connection after another, as inetd would start it, with nothing outside of its folder.

Where root runs the test it is daemon's, for root's own wants /run/sshd, and nobody is locked out where systemd tells of him. The user
may have no shell, so there are SFTP and forwarded connections alone.
"""
import os
import pwd
import shutil
import subprocess

from openssh import keygen, tool
from rig import ENV, ROOT, Plain

CONF = """HostKey {0}/host
AuthorizedKeysFile {0}/user.pub
PidFile none
UsePAM no
PasswordAuthentication no
StrictModes no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""


class Sshd(Plain):
    """.user may log in with the key .key, and write into .dir."""

    def __init__(self, r):
        self.dir, self.key, self.running = f"{r.tmp}/sshd", f"{r.tmp}/user", []
        owner = pwd.getpwnam("daemon") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.user, self.who = owner.pw_name, {}
        if os.geteuid() == 0:
            self.who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            for path in (ROOT, r.tmp):      # the way to its folder
                os.chmod(path, 0o755)
        os.mkdir(self.dir, 0o700)
        host = f"{self.dir}/host"
        for key in (host, self.key):
            keygen(key, "-t", "ed25519")
        shutil.copy(f"{self.key}.pub", self.dir)
        with open(f"{self.dir}/conf", "w", encoding="ascii") as f:
            f.write(CONF.format(self.dir))
        for path in (self.dir, *(f"{self.dir}/{name}" for name in os.listdir(self.dir))):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        self.argv = [tool("sshd"), "-i", "-f", f"{self.dir}/conf", "-E", f"{self.dir}/log"]
        super().__init__(self.inetd)
        r.keep(self)

    def inetd(self, conn):
        conn.sock.setblocking(True)
        with self.cond:
            # pylint: disable=consider-using-with
            self.running.append(subprocess.Popen(self.argv, stdin=conn.sock, stdout=conn.sock, stderr=subprocess.DEVNULL, cwd="/", env=ENV,
                                                 **self.who))

    def close(self):
        super().close()
        with self.cond:
            for p in self.running:
                p.kill()
                p.wait()
