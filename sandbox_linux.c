/*
 * sandbox_linux.c: no_new_privs, Landlock and seccomp; see sandbox.h. The kernel's structs and
 * numbers stand here, because musl's headers lack them and old ones know only half.
 */
#include <sys/types.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define NO_NEW_PRIVS 38		/* PR_SET_NO_NEW_PRIVS */

/*
 * Is somebody looking for faults? What sanitizers, coverage and preloaded libraries (valgrind has some)
 * do beside the program nobody can list: they trace, open files, start programs, often at the end.
 * Names that each kind defines; NULL in other builds.
 */
extern void __sanitizer_set_report_path(const char *) __attribute__((weak));
extern void __gcov_exit(void) __attribute__((weak));
extern void llvm_gcov_init(void) __attribute__((weak));
extern int __llvm_profile_write_file(void) __attribute__((weak));

static int
watched(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return (preload != NULL && preload[0] != '\0') || __sanitizer_set_report_path != NULL ||
	    __gcov_exit != NULL || llvm_gcov_init != NULL || __llvm_profile_write_file != NULL;
}

/* Landlock: which folders, and no TCP but what is open. */

enum {				/* linux/landlock.h; the same numbers on every machine */
	NR_CREATE = 444, NR_ADD = 445, NR_RESTRICT = 446,
	ASK_VERSION = 1, PATH_BENEATH = 1,
	FS_WRITE_FILE = 1 << 1, FS_READ_FILE = 1 << 2, FS_READ_DIR = 1 << 3, FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_REG = 1 << 8, FS_MAKE_SOCK = 1 << 9, FS_TRUNCATE = 1 << 14,
	FS_FILE = FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE,	/* rights that a single file can have */
	FS_ALL_1 = (1 << 13) - 1, FS_ALL_2 = 1 << 13, FS_ALL_3 = FS_TRUNCATE, FS_ALL_5 = 1 << 15,
	NET_BIND_4 = 1, NET_CONNECT_4 = 2,	/* TCP */
	SCOPE_ALL_6 = 3		/* abstract unix sockets, signals */
};

enum {
	READ = FS_READ_FILE,
	WRITE = FS_WRITE_FILE | FS_MAKE_REG,
	STATE = READ | WRITE | FS_READ_DIR | FS_REMOVE_FILE | FS_MAKE_SOCK | FS_TRUNCATE
};

struct ruleset {		/* a kernel that knows less of it takes the rest if it is 0 */
	uint64_t fs, net, scope;
};

struct beneath {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));	/* the kernel's is */

static int
allow_fd(int rules, uint64_t handled, int fd, uint64_t access)
{
	struct beneath b;
	struct stat st;

	if (fstat(fd, &st) == -1)
		return -1;
	b.allowed = access & handled;
	if (!S_ISDIR(st.st_mode))
		b.allowed &= FS_FILE;
	b.fd = fd;
	return (int)syscall(NR_ADD, rules, PATH_BENEATH, &b, 0);
}

/* A folder that is not there, or that we may not enter, needs no rule. */
static int
allow_path(int rules, uint64_t handled, const char *path, uint64_t access)
{
	int fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK), rc;

#ifdef O_PATH
	if (fd == -1)		/* one that may be entered and not listed */
		fd = open(path, O_PATH | O_CLOEXEC);
#endif
	if (fd == -1)
		return 0;
	rc = allow_fd(rules, handled, fd, access);
	close(fd);
	return rc;
}

/* Is it in force? */
static int
landlock(const struct sandbox *s)
{
	struct ruleset r = { FS_ALL_1, 0, 0 };
	long version = syscall(NR_CREATE, (void *)NULL, (size_t)0, ASK_VERSION);
	int i, rules, rc = 0;

	if (version < 1)
		return 0;	/* not built in, or not switched on */
	r.fs |= (version >= 2 ? FS_ALL_2 : 0) | (version >= 3 ? FS_ALL_3 : 0) | (version >= 5 ? FS_ALL_5 : 0);
	if (version >= 4)
		r.net = (s->binds ? 0 : NET_BIND_4) | (s->dials ? 0 : NET_CONNECT_4);
	r.scope = version >= 6 ? SCOPE_ALL_6 : 0;
	if ((rules = (int)syscall(NR_CREATE, &r, sizeof(r), 0)) == -1)
		return 0;
	if (s->dir != -1)
		rc = allow_fd(rules, r.fs, s->dir, STATE);
	for (i = 0; i < s->nfolders && rc == 0; i++)
		rc = allow_path(rules, r.fs, s->folder[i].path, (s->folder[i].read ? READ : 0) | (s->folder[i].write ? WRITE : 0));
	if (rc == 0)
		rc = allow_path(rules, r.fs, "/dev/urandom", READ);	/* a TLS library may look there */
	if (rc == 0)
		rc = (int)syscall(NR_RESTRICT, rules, 0);
	close(rules);
	return rc == 0;
}

/*
 * seccomp: which system calls.
 *
 * A list of those allowed, because the calls that will be invented are not on anybody's list of
 * bad ones. What is not on it is answered with ENOSYS, as by a kernel that is too old for it: so a
 * C library that has begun to use a new call does what it did before, and the daemon lives. A few
 * that no library makes behind our back, and that are what an intruder wants, kill at once.
 */

#if defined(__x86_64__) && !defined(__ILP32__)
#define MACHINE 0xc000003eU	/* AUDIT_ARCH_X86_64 */
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define MACHINE 0xc00000b7U	/* AUDIT_ARCH_AARCH64 */
#endif

#ifdef MACHINE

enum {				/* linux/bpf_common.h, linux/seccomp.h */
	LOAD = 0x20,		/* a word of struct seccomp_data */
	IF_EQUAL = 0x15, IF_BITS = 0x45, RETURN = 0x06,
	AT_NR = 0, AT_MACHINE = 4, AT_ARGS = 16,
	MODE_FILTER = 1,
	FLAG_SPEC_ALLOW = 4,	/* we run nobody else's code: no need to be slower for it */
	CODE_MAX = 512
};

#define ALLOW 0x7fff0000U
#define KILL 0x80000000U	/* of the whole process */
#define TOO_OLD (0x00050000U | ENOSYS)	/* what a kernel says that does not know the call */
/* The tests build one that kills instead, and so find out whether the daemon ever comes here. */
#ifndef SANDBOX_ELSE
#define SANDBOX_ELSE TOO_OLD
#define REFUSE (0x00050000U | EPERM)
#else
#define REFUSE SANDBOX_ELSE
#endif
#define THREAD 0x00010000U	/* CLONE_THREAD */

struct insn {			/* struct sock_filter */
	uint16_t code;
	uint8_t yes, no;	/* to skip */
	uint32_t k;
};

struct code {			/* struct sock_fprog */
	unsigned short n;
	struct insn *insn;
};

/* The usual ones first: kernels before 5.11 walk the list each time. */
static const uint16_t allowed[] = {
	SYS_read, SYS_write, SYS_futex, SYS_recvfrom, SYS_sendto, SYS_ppoll,
#ifdef SYS_poll			/* older calls, that newer machines do without */
	SYS_poll, SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_pipe, SYS_select, SYS_dup2, SYS_unlink,
	SYS_rename, SYS_readlink, SYS_mkdir, SYS_epoll_create, SYS_epoll_wait, SYS_eventfd, SYS_time,
	SYS_getrlimit, SYS_getdents,
#endif
	SYS_readv, SYS_writev, SYS_sendmsg, SYS_recvmsg, SYS_close, SYS_fcntl, SYS_accept, SYS_accept4,
	SYS_setsockopt, SYS_getsockopt, SYS_getsockname, SYS_getpeername, SYS_shutdown,
	SYS_clock_gettime, SYS_getrandom, SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk,
	SYS_set_robust_list, SYS_exit, SYS_rt_sigprocmask, SYS_sched_yield, SYS_pipe2,
#ifdef SYS_rseq
	SYS_rseq,
#endif
	/* files and folders */
	SYS_openat, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_lseek, SYS_pread64, SYS_pwrite64, SYS_ftruncate,
	SYS_fsync, SYS_fdatasync, SYS_renameat, SYS_renameat2, SYS_unlinkat, SYS_mkdirat, SYS_linkat,
	SYS_readlinkat, SYS_faccessat, SYS_fchmod, SYS_fchown, SYS_umask, SYS_getdents64, SYS_getcwd,
	SYS_dup, SYS_dup3, SYS_flock, SYS_utimensat,
	/* sockets; Landlock sees to where they lead */
	SYS_bind, SYS_connect, SYS_socketpair, SYS_sendmmsg, SYS_recvmmsg,
	/* waiting */
	SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_eventfd2, SYS_nanosleep,
	SYS_clock_nanosleep, SYS_clock_getres, SYS_gettimeofday, SYS_timerfd_create, SYS_timerfd_settime,
	/* signals and the end */
	SYS_rt_sigaction, SYS_rt_sigreturn, SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_rt_sigpending,
	SYS_sigaltstack, SYS_restart_syscall, SYS_exit_group,
	SYS_tkill,		/* musl's raise and abort; a thread of another process may have that id: Landlock sees to it */
	/* what a C library asks about */
	SYS_getpid, SYS_getppid, SYS_gettid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getgroups,
	SYS_getresuid, SYS_getresgid, SYS_uname, SYS_sysinfo, SYS_getrusage, SYS_times, SYS_sched_getaffinity,
	SYS_getcpu, SYS_membarrier, SYS_set_tid_address, SYS_get_robust_list
};

static const uint16_t deadly[] = {
	SYS_execve, SYS_execveat, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_setns, SYS_unshare,
	SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_open_by_handle_at,
	SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_settimeofday, SYS_clock_settime, SYS_sethostname,
	SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups
};

/*
 * clone3 makes threads, too, but has its flags in memory, where no filter sees them: libraries that are
 * told that there is none take clone.
 */
static const uint16_t clone3[] = { 435 };

/* So that nobody but its listeners is served by it, also where Landlock has no say in TCP. */
static const uint16_t listens[] = { SYS_listen };

/* Allowed if an argument, of which the lower 32 bits count, passes a test (want: or fails the only one). */
static const struct {
	uint16_t nr, arg, test;
	uint8_t want, n;
	uint32_t value[4];
} judged[] = {
	{ SYS_socket, 0, IF_EQUAL, 1, 3, { AF_INET, AF_INET6, AF_UNIX } },
	{ SYS_clone, 0, IF_BITS, 1, 1, { THREAD } },		/* and no process */
	{ SYS_mmap, 2, IF_BITS, 0, 1, { PROT_EXEC } },		/* no new code */
	{ SYS_mprotect, 2, IF_BITS, 0, 1, { PROT_EXEC } },
	{ SYS_ioctl, 1, IF_EQUAL, 1, 4, { FIONREAD, FIONBIO, TIOCGWINSZ, 0x5401 /* TCGETS, for isatty */ } },
	{ SYS_prlimit64, 0, IF_EQUAL, 1, 1, { 0 } }		/* our own */
};

static void
emit(struct code *c, unsigned code, uint32_t k, unsigned yes, unsigned no)
{
	struct insn *i = &c->insn[c->n++];

	assert(c->n <= CODE_MAX);
	i->code = (uint16_t)code;
	i->k = k;
	i->yes = (uint8_t)yes;
	i->no = (uint8_t)no;
}

static void
emit_list(struct code *c, const uint16_t *nr, size_t n, uint32_t verdict)
{
	size_t i;

	for (i = 0; i < n; i++) {
		emit(c, IF_EQUAL, nr[i], 0, 1);
		emit(c, RETURN, verdict, 0, 0);
	}
}

static void
emit_judged(struct code *c, unsigned nr, unsigned arg, unsigned test, int want, const uint32_t *value, unsigned n)
{
	unsigned i;

	emit(c, IF_EQUAL, nr, 0, n + 3);
	emit(c, LOAD, AT_ARGS + 8 * arg, 0, 0);		/* both machines are little-endian */
	for (i = 0; i < n; i++)
		emit(c, test, value[i], want ? n - i : 0, want ? 0 : n - i);
	emit(c, RETURN, REFUSE, 0, 0);
	emit(c, RETURN, ALLOW, 0, 0);
}

/* flags: those of newer kernels, which older ones do without. */
static int
load(const struct code *c, unsigned flags)
{
	if (syscall(SYS_seccomp, MODE_FILTER, flags, c) == 0)
		return 0;
	return flags != 0 && errno == EINVAL ? load(c, 0) : -1;
}

/* Is it in force? */
static int
seccomp(const struct sandbox *s)
{
	struct insn insn[CODE_MAX];
	struct code c = { 0, insn };
	uint32_t self = (uint32_t)getpid();
	size_t i;

	emit(&c, LOAD, AT_MACHINE, 0, 0);
	emit(&c, IF_EQUAL, MACHINE, 1, 0);
	emit(&c, RETURN, KILL, 0, 0);	/* the numbers of another machine mean other calls */
	emit(&c, LOAD, AT_NR, 0, 0);
	emit_list(&c, allowed, COUNT(allowed), ALLOW);
	if (s->binds)
		emit_list(&c, listens, COUNT(listens), ALLOW);
	emit_list(&c, clone3, COUNT(clone3), TOO_OLD);
	for (i = 0; i < COUNT(judged); i++)
		emit_judged(&c, judged[i].nr, judged[i].arg, judged[i].test, judged[i].want,
		    judged[i].value, judged[i].n);
	emit_judged(&c, SYS_kill, 0, IF_EQUAL, 1, &self, 1);
	emit_judged(&c, SYS_tgkill, 0, IF_EQUAL, 1, &self, 1);
	emit_list(&c, deadly, COUNT(deadly), KILL);
	emit(&c, RETURN, SANDBOX_ELSE, 0, 0);
	return load(&c, FLAG_SPEC_ALLOW) == 0;
}

#else

static int
seccomp(const struct sandbox *s)
{
	(void)s;
	return 0;		/* nobody has made a list for this machine */
}

#endif

/* Those that a file or a supervisor gave to somebody who is not root, for low ports. Root's own are root's. */
static int
drop_capabilities(void)
{
	struct { uint32_t version; int32_t pid; } head = { 0x20080522, 0 };
	struct { uint32_t effective, permitted, inheritable; } none[2];

	memset(none, 0, sizeof(none));
	return (int)syscall(SYS_capset, &head, none);
}

static void
tell(struct sandbox_told *t, const char *part, int has)
{
	char *list = has ? t->has : t->lacks;
	size_t len = strlen(list);

	assert(len + strlen(part) + 2 <= sizeof(t->has));
	if (len > 0)
		list[len++] = ',';
	strcpy(list + len, part);
}

void
sandbox_enter(const struct sandbox *s, struct sandbox_told *told)
{
	int first, limit;

	memset(told, 0, sizeof(*told));
	if (geteuid() != 0)
		tell(told, "no_capabilities", drop_capabilities() == 0);
	first = prctl(NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) == 0;	/* without it the others are for root only */
	tell(told, "no_new_privs", first);
	if (!s->limit)
		return;
	limit = first && !watched();
	tell(told, "landlock", limit && landlock(s));
	tell(told, "seccomp", limit && seccomp(s));
}

int
sandbox_ids(uid_t uid[3], gid_t gid[3])
{
#ifdef SYS_getresuid32		/* of a machine that began with ids of 16 bits */
	return syscall(SYS_getresuid32, &uid[0], &uid[1], &uid[2]) == -1 ||
	    syscall(SYS_getresgid32, &gid[0], &gid[1], &gid[2]) == -1 ? -1 : 0;
#else
	return syscall(SYS_getresuid, &uid[0], &uid[1], &uid[2]) == -1 ||
	    syscall(SYS_getresgid, &gid[0], &gid[1], &gid[2]) == -1 ? -1 : 0;
#endif
}
