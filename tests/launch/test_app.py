"""``byname app``: who may open the page, what it gives away, and the page in a real browser."""

import re
import shutil
import threading

import httpx
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from launch import app
from launch.app import AppSettings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two things with a photo each; the picture of ``bo`` says where it was taken."""
    root = tmp_path_factory.mktemp("mine")
    for name, colour in (("bo", "red"), ("mia", "blue")):
        (root / name).mkdir()
        Image.new("RGB", (48, 48), colour).save(root / name / "0.jpg")
    return root


@pytest.fixture(scope="module")
def settings(tiny, photos):
    return AppSettings(
        policy=str(tiny["policy"]), photos=str(photos), port=0, size=48, max_new_tokens=4
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from tests.tiny import save_tiny_policy

    return {"policy": save_tiny_policy(tmp_path_factory.mktemp("tiny") / "policy")}


@pytest.fixture(scope="module")
def address(settings):
    page, address = app.serve(settings)
    yield address.rstrip("/")
    page.close()


# ---- who may open it ----


@pytest.mark.parametrize("changes", [{"host": "0.0.0.0"}, {"share": True}])
def test_others_need_a_password(settings, changes, monkeypatch):
    open_to_others = AppSettings(policy=settings.policy, photos=settings.photos, **changes)
    monkeypatch.delenv(app.PASSWORD, raising=False)
    with pytest.raises(ValueError, match=r"others could open the page; set a password"):
        app.password_for(open_to_others)
    monkeypatch.setenv(app.PASSWORD, "short")
    with pytest.raises(ValueError, match="8 characters or more"):
        app.password_for(open_to_others)
    monkeypatch.setenv(app.PASSWORD, "long enough")
    assert app.password_for(open_to_others) == ("byname", "long enough")


def test_on_this_machine_there_is_none_unless_it_is_wished(settings, monkeypatch):
    monkeypatch.delenv(app.PASSWORD, raising=False)
    assert app.password_for(settings) is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (["--policy", "nowhere"], "nowhere"),
        (["--photos", "no/such/folder"], "no/such/folder"),
        (["--beside", "x=no_such.yaml"], "no_such.yaml"),
        (["--port", "65536"], "port must be a number in 0-65535"),
        (["--beside", "in_context=configs/methods/in_context.yaml"], "two systems are called"),
    ],
)
def test_mistakes_are_one_sentence_before_the_page_opens(settings, line, why, capsys):
    argv = ["--policy", settings.policy, "--photos", settings.photos, "--port", "0", *line]
    with pytest.raises(SystemExit, match=re.escape(why)) as stop:
        app.main(argv)
    assert str(stop.value).startswith("app: ") and "\n" not in str(stop.value)


# ---- what it gives away ----


def test_no_file_of_the_machine_can_be_read(address, photos):
    for path in ("/etc/passwd", f"{photos}/bo/0.jpg", f"{photos}/database.json"):
        for route in ("/gradio_api/file=", "/file="):
            assert httpx.get(address + route + path).status_code in (403, 404)


def test_nothing_is_loaded_from_elsewhere_and_no_other_page_may_frame_it(address):
    head = httpx.get(address).headers
    assert "default-src 'self'" in head["content-security-policy"]
    assert "frame-ancestors 'none'" in head["content-security-policy"]
    assert head["referrer-policy"] == "no-referrer"


def test_the_page_names_no_folder(address, photos):
    for path in ("/", "/config"):
        said = httpx.get(address + path).text
        assert str(photos) not in said and "/root" not in said


def test_too_large_an_upload_is_refused(address):
    data = b"\0" * (31 * 2**20)
    reply = httpx.post(f"{address}/gradio_api/upload", files={"files": ("x.jpg", data)}, timeout=60)
    assert reply.status_code == 413


# ---- asking ----


def test_twenty_questions_at_once_wait_in_line_and_all_are_answered(address, photos):
    client = Client(address, verbose=False)
    client.predict(api_name="/begin")
    picture = handle_file(photos / "bo" / "0.jpg")
    jobs = [
        client.submit("in_context", picture, f"Question {i}?", api_name="/answers")
        for i in range(20)
    ]
    answers = [job.result(timeout=300) for job in jobs]
    assert len(answers) == 20 and all('class="answer"' in answer[0] for answer in answers)


def test_a_refusal_is_a_sentence_without_folders(address, tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    client = Client(address, verbose=False)
    client.predict(api_name="/begin")
    with pytest.raises(Exception, match="no picture|not|image") as told:
        client.predict("in_context", handle_file(tmp_path / "x.png"), "?", api_name="/answers")
    assert str(tmp_path) not in str(told.value) and "Traceback" not in str(told.value)


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here: the page is not opened in a browser")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["desktop", "phone in the dark"])
def page(browser, address, request):
    """The page, opened; nothing may be asked of another server, no script may fail."""
    phone = request.param.startswith("phone")
    context = browser.new_context(
        viewport={"width": 390 if phone else 1200, "height": 800},
        color_scheme="dark" if phone else "light",
    )
    page = context.new_page()
    asked, failed = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector("#ask-go")
    yield page
    foreign = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    width = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert not foreign and not failed
    assert width <= (390 if phone else 1200)


def test_add_ask_correct_and_remove(page, tmp_path):
    photo = tmp_path / "new.png"
    Image.effect_noise((48, 48), 90).convert("RGB").save(photo)
    name = f"zoe{page.viewport_size['width']}"
    page.get_by_role("tab", name="My things").click()
    page.fill("#add-name textarea, #add-name input", name)
    page.set_input_files("#add-photos input[type=file]", str(photo))
    page.wait_for_selector("#add-photos .file-name, #add-photos td.filename")
    page.click("#add-go")
    page.wait_for_function("document.querySelector('#add-said').innerText.trim().length > 0")
    if "Press Add again" in page.inner_text("#add-said"):
        page.click("#add-go")
    page.wait_for_function(f"document.querySelector('#things').innerText.includes('{name}')")

    page.get_by_role("tab", name="Ask").click()
    page.set_input_files("#ask-image input[type=file]", str(photo))
    page.fill("#ask-question textarea, #ask-question input", f"<b>Is {name} here?</b>")
    page.keyboard.press("Enter")  # by keyboard alone
    page.wait_for_function(f"document.querySelector('#who-0').innerText.includes('{name}')")
    assert "<b>" in page.inner_text("#answer-0")  # shown as it was typed, not obeyed
    assert page.locator("#answer-0 b").count() == 0

    page.click("#correct button")
    page.wait_for_selector(f"#correct-there :text('{name}')")
    page.locator("#correct-there label", has_text=name).click()
    page.click("#correct-send")
    page.wait_for_function(
        "document.querySelector('#correct-kept').innerText.includes('byname grpo')"
    )

    # Another picture: who was ticked for the one before does not count.
    page.click("#ask-image button[aria-label*=emove]")
    page.wait_for_function("!document.querySelector('#correct-there input:checked')")

    page.get_by_role("tab", name="My things").click()
    page.click("#change-which input")
    page.get_by_role("option", name=name).click()
    page.wait_for_function(
        f"document.querySelector('#change-name textarea, #change-name input').value == '{name}'"
    )
    page.click("#change-remove")
    page.wait_for_function(f"!document.querySelector('#things').innerText.includes('{name}')")


def test_guests_do_not_see_each_other_and_leave_nothing(settings, photos):
    guests = AppSettings(policy=settings.policy, guests=True, size=48)
    new, end, example = app.sessions(guests, guests.systems())
    first, second = new(), new()
    assert example is None and first.database.path.parent != second.database.path.parent
    place = first.database.path.parent
    end(first)
    assert not place.exists() and second.database.path.parent.exists()


def test_questions_of_several_threads_share_one_policy(settings):
    new, _, _ = app.sessions(settings, settings.systems())
    session, loaded = new(), []
    threads = [
        threading.Thread(target=lambda: loaded.append(session.policies.loader(settings.policy)()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one[0]) for one in loaded}) == 1
