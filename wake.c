/* wake.c: a descriptor that ends somebody's poll(2); see wake.h. */
#include <fcntl.h>
#include <unistd.h>

#include "net.h"
#include "wake.h"

int
wake_open(struct wake *w)
{
	int fd[2];

	w->rd = w->wr = -1;
	if (pipe(fd) == -1)
		return -1;
	w->rd = fd[0];
	w->wr = fd[1];
	if (net_flags(fd[0]) == -1 || net_flags(fd[1]) == -1) {
		wake_close(w);
		return -1;
	}
	return 0;
}

void
wake_close(struct wake *w)
{
	if (w->rd != -1) {
		close(w->rd);
		close(w->wr);
	}
	w->rd = w->wr = -1;
}

void
wake_post(struct wake *w)
{
	ssize_t n;

	if (w->wr == -1)
		return;
	n = write(w->wr, "", 1);	/* a full pipe wakes just as well */
	(void)n;
}

void
wake_clear(struct wake *w)
{
	char buf[64];

	while (read(w->rd, buf, sizeof(buf)) == (ssize_t)sizeof(buf))
		;
}
