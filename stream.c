/* stream.c: byte streams, whatever carries them; see stream.h. */
#include "stream.h"

long
stream_write(struct stream *s, const struct iovec *iov, int n, int fin, int64_t deadline)
{
	return s->type->write(s, iov, n, fin, deadline);
}

void
stream_flush(struct stream *s)
{
	if (s->held && s->type->flush != NULL)
		s->type->flush(s);
	s->held = 0;
}

void
stream_credit(struct stream *s, size_t n, int queued)
{
	s->type->credit(s, n, queued);
}

void
stream_fin(struct stream *s)
{
	s->type->end(s, STREAM_FIN);
}

void
stream_fin_lazily(struct stream *s)
{
	s->type->end(s, STREAM_FIN_LAZILY);
}

void
stream_reset(struct stream *s)
{
	s->type->end(s, STREAM_RESET);
}

int
stream_dead(struct stream *s)
{
	return s->type->dead(s);
}

int
stream_over(struct stream *s)
{
	return s->type->over(s);
}

void
stream_leave(struct stream *s)
{
	pthread_mutex_lock(&s->mtx);
	s->ops = NULL;
	pthread_mutex_unlock(&s->mtx);
	s->type->unref(s);
}

void
stream_leave_locked(struct stream *s)
{
	s->ops = NULL;
	s->type->unref(s);	/* not the last: the reader, in whose callback we are, has its own */
}
