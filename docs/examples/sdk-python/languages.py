"""JavaScript and TypeScript contexts beside Python ones, in one sandbox."""

import cellbox

with cellbox.get_sandbox("sdk-py-languages") as sandbox:
    sandbox.run_code("const n = 20; var later = await Promise.resolve(1)", language="javascript")
    assert sandbox.run_code("n + later", language="javascript").text == "21"

    ts = sandbox.create_code_context("typescript")
    code = "interface P { x: number }\nconst p: P = { x: 5 };\nconsole.log('typed'); p.x * 2"
    typed = sandbox.run_code(code, context=ts)
    assert (typed.text, "".join(typed.logs.stdout)) == ("10", "typed\n")

    failed = sandbox.run_code("throw new RangeError('too far')", language="javascript").error
    assert failed is not None and (failed.name, failed.message) == ("RangeError", "too far")

    try:
        sandbox.create_code_context("cobol")
        raise AssertionError("it is known")
    except cellbox.InvalidRequestError as error:
        assert error.code == "INVALID_LANGUAGE"
    sandbox.destroy()
print("ok")
