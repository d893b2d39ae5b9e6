FROM python:3.12-slim

# Nothing is fetched twice, and pip is never run again.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /opt/aexp

# The dependencies in a layer of their own, which an edit of the code leaves as it is. The embedded
# PostgreSQL stays out: the database is given by DBOS_SYSTEM_DATABASE_URL.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
wanted = project['dependencies'] + project['optional-dependencies']['otel']; \
print(*(d for d in wanted if 'pgserver' not in d), sep='\n')" >requirements.txt \
    && pip install --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE ./
COPY migrations migrations
COPY aexp aexp
RUN pip install --no-deps .

# By number, so that Kubernetes sees that it is not root.
USER 10001:10001

# What its processes note of their steps until it is in the database: this user may write nowhere else.
ENV AEXP_HOME=/tmp/aexp

# Reached from elsewhere, so it does not start without AEXP_API_TOKEN.
ENV AEXP_LISTEN_HOST=0.0.0.0 AEXP_LISTEN_PORT=8000 AEXP_LOG_FORMAT=json
EXPOSE 8000

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "\
import http.client, os, sys; \
server = http.client.HTTPConnection('127.0.0.1', int(os.environ['AEXP_LISTEN_PORT']), timeout=4); \
server.request('GET', '/readyz'); \
sys.exit(server.getresponse().status != 200)"]

# Claims nothing more, lets steps in flight end, exits with 0: see AEXP_DRAIN_TIMEOUT_S.
STOPSIGNAL SIGTERM
CMD ["aexp", "serve"]
