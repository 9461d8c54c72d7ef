"""The same with asyncio: many things at once, streams, cancelling."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import cellbox


async def commands(sandbox: cellbox.AsyncSandbox) -> None:
    results = await asyncio.gather(*(sandbox.exec(f"sleep 0.1; echo {i}") for i in range(5)))
    assert [result.stdout for result in results] == [f"{i}\n" for i in range(5)]
    async with aclosing(sandbox.exec_stream("echo up; sleep 602")) as events:
        async for event in events:
            if event.type == "stdout":
                break  # and the command is ended
    while (await sandbox.exec(["pgrep", "-x", "-f", "sleep 602"])).success:
        pass
    session = await sandbox.create_session()
    await session.exec("cd /tmp")
    assert (await session.exec("pwd")).stdout == "/tmp\n"


async def processes(sandbox: cellbox.AsyncSandbox) -> None:
    process = await sandbox.start_process("echo up; read x < /dev/zero & sleep 0.2; echo end; exit 5")
    assert (await process.wait_for_log("up")).line == "up"
    assert (await process.wait_for_exit()).exit_code == 5
    kinds = [event.type async for event in process.stream_logs()]
    assert kinds[-1] == "exit", kinds
    assert await sandbox.get_process("nothing") is None


async def files(sandbox: cellbox.AsyncSandbox) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        for i in range(16):
            yield bytes([i]) * (1 << 20)

    assert (await sandbox.write_file("large", blocks())).size == 16 << 20
    assert sum([len(piece) async for piece in sandbox.read_file_stream("large")]) == 16 << 20
    async with await sandbox.watch() as watcher:
        await sandbox.write_file("seen", "x")
        async for change in watcher:
            if change.path == "/workspace/seen":
                break
    assert await sandbox.exists("seen")


async def code(sandbox: cellbox.AsyncSandbox) -> None:
    heard: list[str] = []
    run = await sandbox.run_code("print('hi'); 6 * 7", on_stdout=lambda output: heard.append(output.text))
    assert (run.text, "".join(heard)) == ("42", "hi\n")

    async def answer(ask: cellbox.InputRequest) -> str:
        await asyncio.sleep(0)
        return ask.prompt.upper()

    assert (await sandbox.run_code("input('name')", on_input=answer)).text == "'NAME'"

    # cancelling the task interrupts the run; variables are kept
    started = asyncio.Event()
    await sandbox.run_code("kept = 1")
    endless = sandbox.run_code("print('go', flush=True)\nwhile True: pass", on_stdout=lambda _: started.set())
    task = asyncio.create_task(endless)
    await started.wait()
    task.cancel()
    try:
        await task
        raise AssertionError("it ended")
    except asyncio.CancelledError:
        pass
    assert (await sandbox.run_code("kept")).text == "1"


async def terminals(sandbox: cellbox.AsyncSandbox) -> None:
    terminal = await sandbox.terminal()
    async with await terminal.connect() as viewer:
        await viewer.write("exit 3\n")
        async for piece in viewer:
            print(len(piece), "bytes")
        assert viewer.exit is not None and viewer.exit.code == 3


async def main() -> None:
    async with cellbox.AsyncSandbox("sdk-py-async") as sandbox:
        for part in (commands, processes, files, code, terminals):
            await part(sandbox)
        await sandbox.destroy()
    print("ok")


asyncio.run(main())
