// A prebuilt JupyterLab extension without a build: three service plugins whose server is the one that the page's
// configuration names as cellboxUrl and cellboxToken.

(function () {
    let shared;

    /** A library of JupyterLab itself. */
    async function library(name) {
        const [newest] = Object.values(shared[name]).reverse();
        return (await newest.get())();
    }

    /** Services as in JupyterLab, with settings of another server. */
    function plugins(services, settings) {
        const options = (connection) => ({
            serverSettings: settings,
            standby: () => !(connection?.isConnected ?? true) || "when-hidden",
        });
        return [
            {
                id: "cellbox-direct:kernel-manager",
                autoStart: true,
                provides: services.IKernelManager,
                optional: [services.IConnectionStatus],
                activate: (_app, connection) => new services.KernelManager(options(connection)),
            },
            {
                id: "cellbox-direct:kernel-spec-manager",
                autoStart: true,
                provides: services.IKernelSpecManager,
                optional: [services.IConnectionStatus],
                activate: (_app, connection) => new services.KernelSpecManager(options(connection)),
            },
            {
                id: "cellbox-direct:session-manager",
                autoStart: true,
                provides: services.ISessionManager,
                requires: [services.IKernelManager],
                optional: [services.IConnectionStatus],
                activate: (_app, kernelManager, connection) =>
                    new services.SessionManager({ ...options(connection), kernelManager }),
            },
        ];
    }

    (window._JUPYTERLAB ??= {})["cellbox-direct"] = {
        init(scope) {
            shared = scope;
        },
        async get() {
            const [services, { PageConfig }] = await Promise.all(
                ["@jupyterlab/services", "@jupyterlab/coreutils"].map(library),
            );
            const baseUrl = PageConfig.getOption("cellboxUrl");
            const settings = services.ServerConnection.makeSettings({
                baseUrl,
                wsUrl: baseUrl.replace(/^http/, "ws"),
                token: PageConfig.getOption("cellboxToken"),
                appendToken: true,
            });
            return () => ({ __esModule: true, default: plugins(services, settings) });
        },
    };
})();
