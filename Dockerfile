# Builds the one binary and ships it alone: no shell, no package manager, not root.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p cli \
    && cp target/release/sixfold /sixfold \
    && mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /sixfold /usr/local/bin/sixfold
COPY --from=build --chown=nonroot:nonroot /data /data
ENV SIXFOLD__PROCESS__DATA=/data
VOLUME /data
EXPOSE 8000
# Asks every role the configuration names; docker-compose.yml narrows it to the container's own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["sixfold", "status"]
ENTRYPOINT ["sixfold"]
CMD ["up"]
