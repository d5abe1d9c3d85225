;;; checks.el --- what Emacs makes of the menu's entry  -*- lexical-binding: t -*-
;; Run by run.sh in a batch Emacs that has loaded the init file which `cosec-ls setup emacs' wrote.

(require 'cl-lib)
(require 'python)

(defvar cosec-checks-patience 180
  "Seconds: a model may have to be loaded, on a machine that does other things too.")

(defvar cosec-checks-way nil "The client under test.")

(defconst cosec-checks-above
  "import sqlite3


class Store:
    def __init__(self, path):
        self.db = sqlite3.connect(path)

    def find_user(self, name):
        cursor = self.db.cursor()
        ")

(defun cosec-checks-ok (format &rest args)
  (princ (concat "ok: " cosec-checks-way ": " (apply #'format format args) "\n")))

(defun cosec-checks-fail (format &rest args)
  (princ (concat "FAILED: " cosec-checks-way ": " (apply #'format format args) "\n"))
  (cosec-checks-tell)
  (kill-emacs 1))

(defun cosec-checks-tell ()
  "What the client and the server said, to standard error."
  (dolist (buffer (buffer-list))
    (when (string-match-p "EGLOT\\|lsp-log\\|cosec-ls" (buffer-name buffer))
      (with-current-buffer buffer
        (message "-- %s\n%s" (buffer-name) (buffer-string))))))

(defun cosec-checks-wait (what condition)
  "The value of CONDITION, once it has one."
  (let ((end (+ (float-time) cosec-checks-patience)) value)
    (while (not (setq value (funcall condition)))
      (when (> (float-time) end)
        (cosec-checks-fail "gave up waiting for %s" what))
      (accept-process-output nil 0.05))
    value))

(defun cosec-checks-candidates ()
  "What the buffer's completion offers at point, by `completion-at-point-functions'."
  (pcase (run-hook-wrapped 'completion-at-point-functions #'completion--capf-wrapper 'all)
    (`(,_ ,start ,end ,table . ,plist)
     (let* ((completion-extra-properties plist)
            (found (completion-all-completions (buffer-substring start end) table
                                               (plist-get plist :predicate) (- (point) start))))
       (when (consp found)
         (setcdr (last found) nil)
         found)))))

(defun cosec-checks-choose ()
  "Puts the first candidate in its place, and tells the client that it was chosen."
  (pcase-let* ((candidate (car (cosec-checks-candidates)))
               (`(,_ ,start ,end ,_ . ,plist)
                (run-hook-wrapped 'completion-at-point-functions #'completion--capf-wrapper 'all)))
    (delete-region start end)
    (insert candidate)
    (funcall (plist-get plist :exit-function) candidate 'finished)))

(defun cosec-checks-type (text)
  "Types TEXT, letter by letter as far as Emacs is concerned."
  (dolist (letter (append text nil))
    (insert letter)))

(defun cosec-checks-suggested (typed)
  "Waits for an entry that goes on after TYPED on more lines and grows no more, and returns its text."
  (let (text before)
    (cosec-checks-wait
     "an entry of several lines"
     (lambda ()
       (setq before text)
       ;; A question may take longer than Emacs waits, while the models are loaded.
       (dolist (candidate (ignore-errors (cosec-checks-candidates)))
         (let ((item (or (get-text-property 0 'eglot--lsp-item candidate)
                         (plist-get (text-properties-at 0 candidate) 'lsp-completion-item))))
           (setq text (cosec-checks-documentation item))))
       (and text (equal text before) (string-prefix-p typed text) (string-search "\n" text))))
    text))

(defun cosec-checks-documentation (item)
  "The text of ITEM, before it was fitted to the client."
  (let* ((documentation (if (hash-table-p item) (gethash "documentation" item)
                          (plist-get item :documentation)))
         (value (if (hash-table-p documentation) (gethash "value" documentation)
                  (plist-get documentation :value))))
    (when (and value (string-match "\\`[^\n]*\n\\(\\(?:.\\|\n\\)*\\)\n[^\n]*\\'" value))
      (match-string 1 value))))

(defun cosec-checks-pid ()
  (if (string= cosec-checks-way "lsp-mode")
      (process-id (lsp--workspace-proc (car (lsp-workspaces))))
    (process-id (jsonrpc--process (eglot-current-server)))))

(defun cosec-checks-start ()
  (pcase cosec-checks-way
    ("lsp-mode"
     (package-activate-all)
     (require 'lsp-mode)
     (require 'lsp-completion)
     (setq lsp-auto-guess-root t lsp-restart 'auto-restart lsp-keep-workspace-alive nil
           lsp-enable-snippet (require 'yasnippet nil t) lsp-completion-enable t
           lsp-enabled-clients '(cosec-ls))
     (lsp-register-custom-settings '(("cosec-ls.profile" "small")))
     (when lsp-enable-snippet (yas-minor-mode 1))
     (lsp)
     (cosec-checks-wait "the server"
                        (lambda () (cl-some (lambda (workspace) (eq 'initialized (lsp--workspace-status workspace)))
                                            (lsp-workspaces))))
     (lsp-completion-mode 1))
    (_
     (require 'eglot)
     (when (string= cosec-checks-way "eglot-yasnippet")
       (require 'yasnippet)
       (yas-minor-mode 1))
     (setq-default eglot-workspace-configuration '(:cosec-ls (:profile "small")))
     (setq eglot-events-buffer-config '(:size 200000 :format full))
     (call-interactively #'eglot)
     (cosec-checks-wait "the server" #'eglot-current-server))))

(defun cosec-checks-accept ()
  "Types, waits for the entry, accepts it, and compares the buffer with the suggestion."
  (let ((typed "cursor.ex") text)
    (goto-char (point-max))
    (cosec-checks-type typed)
    (setq text (cosec-checks-suggested "ex"))
    (cosec-checks-ok "completion-at-point offers `%s' and %d lines more"
                     (car (split-string text "\n")) (cl-count ?\n text))
    (completion-at-point)
    ;; lsp-mode shows a list even of one, which needs a frame; Corfu and Company choose from it so.
    (when (string-suffix-p typed (buffer-string))
      (cosec-checks-choose))
    (let ((expected (concat cosec-checks-above "cursor." text)))
      ;; Between the look and the acceptance it may have grown, by lines of the same block.
      (unless (and (string-prefix-p expected (buffer-string))
                   (string-match-p "\\`\\(\n        .*\\)*\\'" (substring (buffer-string) (length expected))))
        (cosec-checks-fail "accepting gave\n%s\n-- and not\n%s" (buffer-string) expected)))
    (cosec-checks-ok "accepting inserts all lines as suggested")))

(defun cosec-checks-killed ()
  "The server dies in the middle of a decode."
  (let ((pid (cosec-checks-pid)) (connected (float-time)))
    (delete-region (1+ (length cosec-checks-above)) (point-max))
    (goto-char (point-max))
    (cosec-checks-type "self.db.")
    ;; Eglot connects again only what was connected for as long as `eglot-autoreconnect' says.
    (cosec-checks-wait "the time that a connection has to last" (lambda () (> (- (float-time) connected) 4)))
    (run-at-time 0.3 nil (lambda () (signal-process pid 9)))
    (condition-case problem
        (cosec-checks-candidates)
      (error (princ (format "    the question that it died of: %s\n" (error-message-string problem)))))
    (cosec-checks-wait "the server's end" (lambda () (not (process-attributes pid))))
    (cosec-checks-wait "another server"
                       (lambda () (let ((now (ignore-errors (cosec-checks-pid)))) (and now (/= now pid)))))
    (delete-region (1+ (length cosec-checks-above)) (point-max))
    (goto-char (point-max))
    (cosec-checks-type "cursor.ex")
    (cosec-checks-wait "an entry" (lambda () (ignore-errors (cosec-checks-candidates))))
    (cosec-checks-ok "killed in the middle of a decode, connected again, it completes")))

(defun cosec-checks-run (way directory)
  (setq cosec-checks-way way)
  (setq inhibit-message nil make-backup-files nil create-lockfiles nil)
  (let ((file (expand-file-name "store.py" directory)))
    (write-region cosec-checks-above nil file)
    (find-file file)
    (unless (derived-mode-p 'python-base-mode) (python-mode))
    (cosec-checks-start)
    (cosec-checks-ok "%s, server %d" (car (split-string (emacs-version) " (build")) (cosec-checks-pid))
    (cosec-checks-accept)
    (cosec-checks-killed)
    (set-buffer-modified-p nil)
    (kill-emacs 0)))

;;; checks.el ends here
