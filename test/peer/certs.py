"""Keys and certificates of any kind, made by the openssl command in a folder of the test's own."""
import base64
import os
import subprocess
import tempfile
import threading
import time

CONFIG = """[ca]
default_ca = own
[own]
dir = {dir}
new_certs_dir = {dir}
database = {dir}/index.txt
default_md = sha256
default_days = 30
rand_serial = yes
unique_subject = no
policy = any
copy_extensions = none
[any]
commonName = optional
[req]
distinguished_name = none
prompt = no
[none]
"""
KINDS = {"rsa1024": ["rsa", "rsa_keygen_bits:1024"], "rsa2048": ["rsa", "rsa_keygen_bits:2048"],
         "rsa4096": ["rsa", "rsa_keygen_bits:4096"], "p256": ["ec", "ec_paramgen_curve:P-256"],
         "p384": ["ec", "ec_paramgen_curve:P-384"], "p521": ["ec", "ec_paramgen_curve:P-521"], "ed25519": ["ed25519"]}


def openssl(*args, data=None):
    p = subprocess.run(["openssl", *args], input=data, capture_output=True, check=False, timeout=300,
                       stdin=None if data is not None else subprocess.DEVNULL)
    if p.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(args)}: {p.stderr.decode('utf-8', 'replace')}")
    return p.stdout


def day(offset):
    """So many days from now, as the openssl command takes it."""
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + offset * 86400))


class Pair:
    """A certificate and its key; cert alone, chain with what its issuers are short of the root, both with key."""

    def __init__(self, folder, name, key, issuer):
        self.base, self.name, self.key, self.issuer = f"{folder}/{name}", name, key, issuer
        self.cert, self.chain, self.both = f"{self.base}.crt", f"{self.base}.chain", f"{self.base}.both"

    def finish(self):
        chain, at = read(self.cert), self.issuer
        while at is not None and at.issuer is not None:
            chain, at = chain + read(at.cert), at.issuer
        write(self.chain, chain)
        write(self.both, chain + read(self.key))
        return self

    def pin(self):
        der = openssl("pkey", "-pubin", "-outform", "der", data=openssl("x509", "-in", self.cert, "-noout", "-pubkey"))
        return "sha256:" + base64.b64encode(openssl("dgst", "-sha256", "-binary", data=der)).decode()


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    return path


class Certs:
    """A folder of them."""

    def __init__(self, folder):
        self.dir, self.lock, self.keys = folder, threading.Lock(), {}
        os.makedirs(folder, exist_ok=True)

    def key(self, kind="p256", number=0):
        """A key in PKCS #8; the same one for the same kind and number: an RSA key takes a while."""
        with self.lock:
            path = f"{self.dir}/{kind}-{number}.key"
            if path not in self.keys:
                args = [a for o in KINDS[kind][1:] for a in ("-pkeyopt", o)]
                openssl("genpkey", "-algorithm", KINDS[kind][0], *args, "-out", path)
                self.keys[path] = kind
            return path

    def make(self, name, issuer=None, kind="p256", number=0, san=(), ca=False, start=-1, end=30, md="sha256", cn=None,
             uses="serverAuth", limits=()):
        """issuer None: self-signed.  start, end: days from now.  limits: further extensions."""
        pair = Pair(self.dir, name, self.key(kind, number), issuer)
        work = tempfile.mkdtemp(prefix=name + ".", dir=self.dir)
        write(f"{work}/index.txt", "")
        write(f"{work}/conf", CONFIG.format(dir=work))
        ext = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"] if ca else \
            ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"]
        if uses and not ca:
            ext.append("extendedKeyUsage=" + uses)
        ext += limits
        if san:
            ext.append("subjectAltName=" + ",".join(san))
        write(f"{work}/ext", "\n".join(ext) + "\n")
        openssl("req", "-new", "-config", f"{work}/conf", "-key", pair.key, "-subj", f"/CN={cn or name}", "-out", f"{work}/req")
        signer = ["-selfsign", "-keyfile", pair.key] if issuer is None else ["-cert", issuer.cert, "-keyfile", issuer.key]
        openssl("ca", "-config", f"{work}/conf", "-batch", "-notext", "-extfile", f"{work}/ext", *signer,
                *([] if KINDS[kind][0] == "ed25519" and issuer is None else ["-md", md]),
                "-startdate", day(start), "-enddate", day(end), "-in", f"{work}/req", "-out", pair.cert)
        return pair.finish()
