/* sandbox_test.c: what a process in the sandbox can still do, and what not; sandbox.h. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "../clock.h"
#include "../random.h"
#include "../sandbox.h"
#include "../store.h"
#include "test.h"

enum { DONE, REFUSED, KILLED, KEPT, SETUP };	/* KEPT: refused or killed */
enum { ALWAYS, FILES, CALLS, TCP, LANDLOCK, PARTS };	/* what of the sandbox a row is about */

static char top[64], state[80], certs[80], logs[80];
static int listening;

/* Things to try: DONE, or REFUSED. */

static int
refused(int failed)
{
	return failed ? REFUSED : DONE;
}

static void *
thread(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static int
make_thread(void)
{
	pthread_t t;
	int ran = 0;

	if (pthread_create(&t, NULL, thread, &ran) != 0)
		return REFUSED;
	pthread_join(t, NULL);
	return refused(!ran);
}

static int
use_state(void)
{
	int dir = open(state, O_RDONLY | O_DIRECTORY);

	return refused(dir == -1 || store_replace(dir, "tokens", "x", 1) == -1 || store_replace(dir, "tokens", "y", 1) == -1 ||
	    unlinkat(dir, "tokens", 0) == -1);
}

static int
open_in(const char *folder, const char *name, int flags)
{
	char path[120];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return refused(open(path, flags, 0600) == -1);
}

static int
read_cert(void)
{
	return open_in(certs, "cert.pem", O_RDONLY);
}

static int
write_cert(void)
{
	return open_in(certs, "cert.pem", O_WRONLY);
}

static int
make_cert(void)
{
	return open_in(certs, "new", O_WRONLY | O_CREAT);
}

static int
write_log(void)
{
	return open_in(logs, "d.log", O_WRONLY | O_APPEND | O_CREAT);
}

static int
read_log(void)
{
	return open_in(logs, "d.log", O_RDONLY);
}

static int
remove_log(void)
{
	char path[120];

	snprintf(path, sizeof(path), "%s/d.log", logs);
	return refused(unlink(path) == -1);
}

static int
read_other(void)
{
	return open_in(top, "other", O_RDONLY);
}

static int
make_other(void)
{
	return open_in(top, "new", O_WRONLY | O_CREAT);
}

static int
read_above(void)
{
	return open_in(state, "../other", O_RDONLY);
}

/* What a daemon does all day: accept, read, write, wait, ask the time, want random bytes, log. */
static int
work(void)
{
	struct timespec ms = { 0, 1000000 };
	struct pollfd pfd;
	unsigned char random[16];
	int fd[2];

	pfd.fd = listening;
	pfd.events = POLLIN;
	if (pipe(fd) == -1 || write(fd[1], "x", 1) != 1 || read(fd[0], random, 1) != 1)
		return REFUSED;
	if (poll(&pfd, 1, 1) == -1 || nanosleep(&ms, NULL) == -1 || clock_ms(CLOCK_STEADY) <= 0)
		return REFUSED;
	if (random_bytes(random, sizeof(random)) == -1 || fcntl(listening, F_SETFL, O_NONBLOCK) == -1)
		return REFUSED;
	return refused(accept(listening, NULL, NULL) != -1 || errno != EAGAIN);
}

static int
signal_self(void)
{
	signal(SIGUSR1, SIG_IGN);
	return refused(kill(getpid(), SIGUSR1) == -1 || raise(SIGUSR1) != 0);
}

static int
signal_parent(void)
{
	return refused(kill(getppid(), 0) == -1);
}

static int
run_program(void)
{
	execl("/bin/true", "true", (char *)NULL);
	return REFUSED;
}

static int
make_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return refused(pid == -1);
}

static int
map_code(void)
{
	return refused(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANON, -1, 0) == MAP_FAILED);
}

static int
turn_to_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);

	return p == MAP_FAILED ? SETUP : refused(mprotect(p, 4096, PROT_READ | PROT_EXEC) == -1);
}

/* What a successor and its listeners come by. */
static int
pass_descriptor(void)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg;
	struct cmsghdr *c;
	struct iovec iov;
	char byte = 0;
	int pair[2];

	memset(&msg, 0, sizeof(msg));
	memset(&control, 0, sizeof(control));
	iov.iov_base = &byte;
	iov.iov_len = 1;
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	msg.msg_control = &control;
	msg.msg_controllen = sizeof(control);
	c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &listening, sizeof(int));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1 || sendmsg(pair[0], &msg, 0) != 1)
		return REFUSED;
	msg.msg_controllen = sizeof(control);
	return refused(recvmsg(pair[1], &msg, 0) != 1 || CMSG_FIRSTHDR(&msg) == NULL);
}

/* A control socket, made before, takes the place of another. */
static int
move_socket(void)
{
	int dir = open(state, O_RDONLY | O_DIRECTORY);

	return refused(dir == -1 || renameat(dir, "control.new", dir, "control") == -1 ||
	    renameat(dir, "control", dir, "control.new") == -1);
}

#ifdef __linux__

static int
dial(void)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd == -1 || getsockname(listening, (struct sockaddr *)&in, &len) == -1)
		return SETUP;
	return refused(connect(fd, (struct sockaddr *)&in, sizeof(in)) == -1);
}

static int
bind_port(void)
{
	struct sockaddr_in in;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	memset(&in, 0, sizeof(in));
	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return fd == -1 ? SETUP : refused(bind(fd, (struct sockaddr *)&in, sizeof(in)) == -1);
}

/* Without bind(2): then the kernel chooses the port. */
static int
listen_anew(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd == -1 ? SETUP : refused(listen(fd, 1) == -1);
}

static int
bind_and_listen(void)
{
	return bind_port() == DONE ? listen_anew() : REFUSED;
}

static int
netlink(void)
{
	return refused(socket(16 /* AF_NETLINK */, SOCK_RAW, 0) == -1);
}

static int
packets(void)
{
	return refused(socket(17 /* AF_PACKET */, SOCK_RAW, 0) == -1);
}

static int
terminal_input(void)
{
	return refused(ioctl(0, TIOCSTI, "x") == -1 && errno == EPERM);
}

#define CALL(name, nr) static int name(void) { return refused(syscall(nr, 0, 0, 0, 0, 0) == -1); }
CALL(call_ptrace, SYS_ptrace)
CALL(call_mount, SYS_mount)
CALL(call_unshare, SYS_unshare)
CALL(call_setns, SYS_setns)
CALL(call_bpf, SYS_bpf)
CALL(call_perf, SYS_perf_event_open)
CALL(call_keyctl, SYS_keyctl)
CALL(call_kexec, SYS_kexec_load)
CALL(call_module, SYS_init_module)
CALL(call_process_vm, SYS_process_vm_readv)
CALL(call_setuid, SYS_setuid)
CALL(call_chroot, SYS_chroot)

/* Unknown to the filter: as from an old kernel. */
static int
future(void)
{
	return refused(syscall(999, 0) == -1 && errno == ENOSYS);
}

static int
io_uring(void)
{
	return refused(syscall(425, 1, NULL) == -1 && errno == ENOSYS);
}

#endif

static const struct {
	const char *name;
	int (*try)(void);
	int part, want;
} rows[] = {
	{ "a thread", make_thread, ALWAYS, DONE },
	{ "files in the state folder", use_state, ALWAYS, DONE },
	{ "a certificate", read_cert, ALWAYS, DONE },
	{ "accept, poll, pipes, clock, random bytes", work, ALWAYS, DONE },
	{ "a signal to itself", signal_self, ALWAYS, DONE },
	{ "a socket renamed in the state folder", move_socket, ALWAYS, DONE },
	{ "a descriptor sent and received", pass_descriptor, ALWAYS, DONE },
	{ "writing a certificate", write_cert, FILES, REFUSED },
	{ "a new file beside it", make_cert, FILES, REFUSED },
	{ "a log, made", write_log, ALWAYS, DONE },
	{ "a log, there", write_log, ALWAYS, DONE },
	{ "reading a log", read_log, FILES, REFUSED },
	{ "removing a log", remove_log, LANDLOCK, REFUSED },
	{ "another file", read_other, FILES, REFUSED },
	{ "another file by way of the state folder", read_above, FILES, REFUSED },
	{ "a new file elsewhere", make_other, FILES, REFUSED },
	{ "a signal to another", signal_parent, CALLS, KEPT },
	{ "a program", run_program, CALLS, KEPT },
	{ "a process", make_process, CALLS, KEPT },
	{ "memory for code", map_code, CALLS, KEPT },
	{ "memory made code", turn_to_code, CALLS, KEPT },
#ifdef __linux__
	{ "TCP to elsewhere", dial, TCP, REFUSED },
	{ "a port of TCP", bind_port, TCP, REFUSED },
	{ "a listener", listen_anew, CALLS, REFUSED },
	{ "a netlink socket", netlink, CALLS, REFUSED },
	{ "a packet socket", packets, CALLS, REFUSED },
	{ "input for the terminal", terminal_input, CALLS, REFUSED },
	{ "a call that is not invented yet", future, CALLS, REFUSED },
	{ "io_uring", io_uring, CALLS, REFUSED },
	{ "execve", run_program, CALLS, KILLED }, { "chroot", call_chroot, CALLS, KILLED },
	{ "mount", call_mount, CALLS, KILLED }, { "unshare", call_unshare, CALLS, KILLED },
	{ "setns", call_setns, CALLS, KILLED }, { "setuid", call_setuid, CALLS, KILLED },
	{ "kexec_load", call_kexec, CALLS, KILLED }, { "init_module", call_module, CALLS, KILLED },
	{ "ptrace", call_ptrace, CALLS, REFUSED }, { "bpf", call_bpf, CALLS, REFUSED },
	{ "perf_event_open", call_perf, CALLS, REFUSED }, { "keyctl", call_keyctl, CALLS, REFUSED },
	{ "process_vm_readv", call_process_vm, CALLS, REFUSED },
#endif
};

enum { LIMIT = 1, BINDS = 2, DIALS = 4 };

static void
enter(int flags, struct sandbox_told *told)
{
	struct sandbox_folder folder[2];
	struct sandbox s;

	folder[0].path = certs;
	folder[0].read = 1;
	folder[0].write = 0;
	folder[1].path = logs;
	folder[1].read = 0;
	folder[1].write = 1;
	s.dir = open(state, O_RDONLY | O_DIRECTORY);
	s.state = state;
	s.folder = folder;
	s.nfolders = 2;
	s.chrooted = 0;
	s.binds = (flags & BINDS) != 0;
	s.dials = (flags & DIALS) != 0;
	s.limit = (flags & LIMIT) != 0;
	if (s.dir == -1)
		_exit(SETUP);
	sandbox_enter(&s, told);
}

/* How it goes in a process of its own. */
static int
attempt(int (*try)(void), int flags)
{
	struct sandbox_told told;
	pid_t pid = fork();
	int st;

	if (pid == 0) {
		enter(flags, &told);
		_exit(try());
	}
	if (pid == -1 || waitpid(pid, &st, 0) != pid)
		return SETUP;
	return WIFEXITED(st) ? WEXITSTATUS(st) : KILLED;
}

/* What the sandbox says of itself. */
static void
ask(int flags, struct sandbox_told *told)
{
	int fd[2];
	ssize_t n = -1;
	pid_t pid;

	memset(told, 0, sizeof(*told));
	if (pipe(fd) == -1)
		return;
	if ((pid = fork()) == 0) {
		enter(flags, told);
		_exit(write(fd[1], told, sizeof(*told)) == -1);
	}
	close(fd[1]);
	if (pid != -1)
		n = read(fd[0], told, sizeof(*told));
	check(n == (ssize_t)sizeof(*told), "it says what it is", (size_t)flags);
	close(fd[0]);
	waitpid(pid, NULL, 0);
}

static int
parts(const struct sandbox_told *t, const char *first, const char *second)
{
	return strstr(t->has, first) != NULL || strstr(t->has, second) != NULL;
}

static int
make_file(const char *folder, const char *name)
{
	char path[120];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	return fd == -1 ? -1 : close(fd);
}

static int
make_socket(void)
{
	struct sockaddr_un sun;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc;

	memset(&sun, 0, sizeof(sun));
	sun.sun_family = AF_UNIX;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/control.new", state);
	rc = fd == -1 ? -1 : bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	close(fd);
	return rc;
}

static int
prepare(void)
{
	struct sockaddr_in in;

	strcpy(top, "/tmp/sandbox_test.XXXXXX");
	if (mkdtemp(top) == NULL)
		return -1;
	snprintf(state, sizeof(state), "%s/state", top);
	snprintf(certs, sizeof(certs), "%s/certs", top);
	snprintf(logs, sizeof(logs), "%s/logs", top);
	memset(&in, 0, sizeof(in));
	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listening = socket(AF_INET, SOCK_STREAM, 0);
	return mkdir(state, 0700) == -1 || mkdir(certs, 0700) == -1 || mkdir(logs, 0700) == -1 || make_socket() == -1 || make_file(certs, "cert.pem") == -1 ||
	    make_file(top, "other") == -1 || listening == -1 ||
	    bind(listening, (struct sockaddr *)&in, sizeof(in)) == -1 || listen(listening, 1) == -1 ? -1 : 0;
}

static void
clean(void)
{
	static const char *const names[] = { "certs/cert.pem", "certs/new", "other", "new", "certs", "logs/d.log", "logs", "state/control.new", "state" };
	char path[120];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", top, names[i]);
		remove(path);
	}
	rmdir(top);
}

static void
flags(const int has[PARTS])
{
#ifdef __linux__
	if (has[TCP]) {
		check(attempt(dial, LIMIT | DIALS) == DONE, "one that dials", 0);
		check(attempt(bind_port, LIMIT | DIALS) == REFUSED, "binds nothing", 0);
		check(attempt(dial, LIMIT | BINDS) == REFUSED, "one that binds dials nobody", 0);
	}
	if (has[CALLS])
		check(attempt(bind_and_listen, LIMIT | BINDS) == DONE, "one that binds", 0);
#endif
	(void)has;
	check(attempt(run_program, 0) == DONE, "a program, without limits", 0);
	check(attempt(read_other, 0) == DONE, "another file, without limits", 0);
}

int
main(void)
{
	struct sandbox_told told, plain;
	int has[PARTS], got, want;
	size_t i;

	check(prepare() == 0, "a folder to work in", 0);
	ask(LIMIT, &told);
	ask(0, &plain);
	check(!parts(&plain, "landlock", "unveil") && !parts(&plain, "seccomp", "pledge"), "without limits it has none", 0);
	has[ALWAYS] = 1;
	has[FILES] = parts(&told, "landlock", "unveil");
	has[CALLS] = parts(&told, "seccomp", "pledge");
	has[LANDLOCK] = strstr(told.has, "landlock") != NULL;
	has[TCP] = 0;
#ifdef __linux__
	has[TCP] = has[FILES] && syscall(444, NULL, 0, 1) >= 4;	/* Landlock's version */
#endif
	if (told.lacks[0] != '\0')
		printf("SKIP part of the sandbox: not to be had here: %s\n", told.lacks);
	fflush(stdout);		/* or the children say it again */
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!has[rows[i].part])
			continue;
		got = attempt(rows[i].try, LIMIT);
		want = rows[i].want;
		if (want == KEPT && (got == REFUSED || got == KILLED))
			want = got;
		check(got == want, rows[i].name, (size_t)got);
	}
	flags(has);
	clean();
	return test_end();
}
